"""The sampler of the small core: keeps the best of the logits that pass."""

import numpy as np
from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.config import ChipConfig
from setun.firmware.core_kinds import SMALL
from setun.firmware.numerics.sampling import gumbel_noise, keys
from setun.hw.arith import FloatToKey, ordered_key
from setun.hw.arith.convert import KEY_BITS
from setun.hw.pipeline import delayed
from setun.hw.vector.sampler import GumbelNoise


class Candidates(wiring.Component):
    """Argmax of logits, or of logit/T plus noise; the lowest index wins ties.

    Members
    -------
    late : In(fmt.width)
        The logit, a cycle after its strobe; already divided by T for `take_random`.
    take_greedy, take_random : In(1)
        Strobes; the one that does not suit `greedy` is ignored.
    greedy : In(1), load : In(1), seed : In(32)
        Mode, and start of the noise.
    index : In(16)
        Of the logit, until 3 cycles after its strobe; number 0 begins anew.
    token : Out(16)
        The best one's index.

    Latency: 4 cycles.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.fmt = config.vector
        super().__init__(
            {
                "late": In(self.fmt.width),
                "take_greedy": In(1),
                "take_random": In(1),
                "greedy": In(1),
                "load": In(1),
                "seed": In(32),
                "index": In(SMALL.token_bits),
                "token": Out(SMALL.token_bits),
            }
        )

    def model(self, logits: ArrayLike, state: int | None) -> tuple[int, int | None]:
        """The token of logits, and the generator behind it.

        Arguments are bits of logits, divided by T, and the generator; None for greedy.
        """
        numbers = self.fmt.from_bits(logits)
        if state is None:
            return int(np.argmax(numbers)), None
        noise, state = gumbel_noise(state, len(numbers))
        return int(np.argmax(keys(numbers) + noise)), state

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.noise = noise = GumbelNoise()
        m.submodules.key = key = FloatToKey(self.fmt)
        assert GumbelNoise.latency == 1 + FloatToKey.latency
        step = self.take_random & ~self.greedy
        m.d.comb += [
            noise.load.eq(self.load),
            noise.seed.eq(self.seed),
            noise.step.eq(step),
            key.a.eq(self.late),
        ]
        plain = delayed(m, self.take_greedy & self.greedy, 1, "plain", reset=True)
        random = delayed(m, step, GumbelNoise.latency, "random", reset=True)
        candidate, best = Signal(signed(KEY_BITS)), Signal(signed(KEY_BITS))
        m.d.comb += candidate.eq(
            Mux(self.greedy, ordered_key(self.fmt, self.late), key.o + noise.o)
        )
        with m.If((plain | random) & ((self.index == 0) | (candidate > best))):
            m.d.sync += [best.eq(candidate), self.token.eq(self.index)]
        return m
