"""Noise for the rounding of recurrent states: generators per conversation, windows per element."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.firmware.numerics.functions import Ints
from setun.firmware.numerics.noise import NOISE_BITS, STRIDE, first_state, next_state, state_noise
from setun.hw.arith import xorshift32
from setun.hw.seats import number, pass_layout


def _rotated(value: Value, turn: int) -> Value:
    """`value` rotated left by a constant."""
    turn %= len(value)
    return Cat(value[len(value) - turn :], value[: len(value) - turn])


class StateGenerators(wiring.Component):
    """The generator of every seat of a pass, stepped once a token.

    Members
    -------
    embedded : In(1), seat : In
        Strobe: the token of a seat is embedded; seats in order.
    seating : In
        Who sits where; see `setun.hw.seats.pass_layout`.
    o : Out(32 bits per seat)
        Valid from the cycle after the seat's strobe until its next one.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        super().__init__(
            {
                "embedded": In(1),
                "seat": In(number(config.contexts)),
                "seating": In(pass_layout(config)),
                "o": Out(data.ArrayLayout(32, config.contexts)),
            }
        )

    def model(self, before: int | None) -> int:
        """The generator of a token, from that of its conversation's token before; None if fresh."""
        fresh = first_state(self.config.numerics.state_seed)
        return next_state(fresh if before is None else before)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        contexts = self.config.contexts
        mine = self.seating.seats[self.seat]
        # A token's generator is the one before it of its conversation, stepped.
        kept = Array(Signal(32, name=f"kept{k}") for k in range(contexts))
        before = Mux(mine.fresh, first_state(self.config.numerics.state_seed), kept[mine.context])
        with m.If(self.embedded):
            following = Signal(32)
            m.d.comb += following.eq(xorshift32(before))
            m.d.sync += [kept[mine.context].eq(following), self.o[self.seat].eq(following)]
        return m


class StateNoise(wiring.Component):
    """Noise of V neighbouring elements of the state, as `setun.firmware.numerics.noise` defines it.

    Members
    -------
    generator : In(32)
    word : In
        Elements word * V and up of a conversation's state.
    o : Out(V x NOISE_BITS)

    Latency: 1 cycle. Throughput: 1 per cycle.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(
            {
                "generator": In(32),
                "word": In(16),
                "o": Out(data.ArrayLayout(NOISE_BITS, lanes)),
            }
        )

    def model(self, generator: int, word: int) -> Ints:
        """The V noises."""
        return state_noise(generator, word * self.lanes, self.lanes)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Element word * V + k turns the generator by STRIDE * V * word + STRIDE * k.
        turned: Value = self.generator
        for bit in range(ceil_log2(32 // self.lanes)):
            by = STRIDE * (self.lanes << bit)
            turned = Mux(self.word[bit], _rotated(turned, by), turned)
        flips = self.word[ceil_log2(32 // self.lanes) :][:5] << (NOISE_BITS - 5)
        for k in range(self.lanes):
            window = _rotated(turned, STRIDE * k)[:NOISE_BITS]
            m.d.sync += self.o[k].eq(window ^ flips)
        return m
