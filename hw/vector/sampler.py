"""Sampler: the token with the largest logit, or the largest logit/T + Gumbel noise."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.config import ChipConfig
from setun.firmware.numerics import functions
from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.functions import Ints
from setun.firmware.numerics.sampling import gumbel_noise, sample
from setun.hw.arith import PRODUCT_LATENCY, FloatToKey, multiplier, ordered_key, xorshift32
from setun.hw.arith.bits import leading_zeros, rom
from setun.hw.instruction import shape
from setun.hw.pipeline import delayed
from setun.hw.seats import number, pass_layout
from setun.hw.vector.sink import logits_layout

KEY_BITS = 24  # a 22-bit key plus noise of up to 22*1024; at least a number's width when greedy


class GumbelNoise(wiring.Component):
    """Gumbel noise of `setun.firmware.numerics.functions`, from seeded xorshift32 generators.

    Parameters
    ----------
    contexts
        Generators; each context has its own.
    table
        Multiples of ln 2 by a table instead of a multiplier; the noise is the same.

    Members
    -------
    load : In(1), loaded : In, seed : In(32)
        Start generator `loaded` at `seed`, not 0.
    step : In(1), context : In
        Draw the next number of a context.
    o : Out(signed(16))
        Noise in 1/1024, `latency` cycles after its step.
    """

    latency = 3

    def __init__(self, contexts: int = 1, *, table: bool = False) -> None:
        self.contexts, self.table = contexts, table
        super().__init__(
            {
                "load": In(1),
                "loaded": In(number(contexts)),
                "seed": In(32),
                "step": In(1),
                "context": In(number(contexts)),
                "o": Out(signed(16)),
            }
        )

    def model(self, state: int, count: int) -> tuple[Ints, int]:
        """The next `count` numbers of a generator, and its state behind them."""
        return gumbel_noise(state, count)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        states = Array(Signal(32, init=1, name=f"state{k}") for k in range(self.contexts))
        drawn, state = Signal(32, init=1), Signal(32)
        m.d.comb += state.eq(states[self.context])
        following = Signal(32)
        m.d.comb += following.eq(xorshift32(state))
        m.d.sync += drawn.eq(following)
        with m.If(self.step):
            m.d.sync += states[self.context].eq(following)
        with m.If(self.load):
            m.d.sync += states[self.loaded].eq(self.seed)

        zeros = leading_zeros(m, drawn, name="zeros")
        octave = Signal(3)
        m.d.comb += octave.eq(Mux(zeros > 7, 7, zeros))
        aligned = Signal(32)
        m.d.comb += aligned.eq(drawn << zeros)
        index = Signal(9)
        m.d.sync += index.eq(Cat(aligned[25:31], octave))
        beyond = Signal(5)
        m.d.comb += beyond.eq(Mux(zeros > 7, zeros - 7, 0))
        if self.table:
            multiples = [Const(k * functions.LN2_FIXED, 16) for k in range(1 << len(beyond))]
            drop = delayed(m, Array(multiples)[delayed(m, beyond, 1, "beyond")], 1, "drop")
        else:
            drop = delayed(m, beyond, 2, "beyond") * functions.LN2_FIXED
        table = functions.gumbel_table() & 0xFFFF
        value = rom(m, table, 16, index, name="table")
        m.d.comb += self.o.eq(value.as_signed() + drop)
        return m


class Sampler(wiring.Component):
    """Argmax over each seat's streamed logits, one per cycle; the lowest index wins ties.

    Members
    -------
    count : In
        Logits of each seat; taken with `start`.
    start : In(1)
        Begin a token for every seat.
    seating : In
        Who sits where; see `setun.hw.seats.pass_layout`.
    greedy : In(one bit per context), factor : In(fmt.width per context)
        Mode and 1/T, stable until `done`.
    load : In(1), loaded : In, seed : In(32)
        Seed the noise of context `loaded`; one number is drawn per logit when not greedy.
    logits : In(stream of `setun.hw.vector.sink.logits_layout`)
        A seat's logits in order; at most one item per V cycles.
    token : Out(token_bits per seat), done : Out(1)
        The winners, and a strobe when all are known.

    Latency: V + 6 cycles after the last item.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        w, contexts = config.vector.width, config.contexts
        super().__init__(
            {
                "start": In(1),
                "count": In(shape(config, "n")),
                "seating": In(pass_layout(config)),
                "greedy": In(contexts),
                "factor": In(data.ArrayLayout(w, contexts)),
                "load": In(1),
                "loaded": In(number(contexts)),
                "seed": In(32),
                "logits": In(stream.Signature(logits_layout(config))),
                "token": Out(data.ArrayLayout(config.token_bits, contexts)),
                "done": Out(1),
            }
        )

    def model(self, logits: ArrayLike, factor: int | None, state: int) -> tuple[int, int]:
        """A seat's token, and its context's generator behind it.

        Arguments are bits of logits and of the factor, None for greedy, and the generator.
        """
        fmt, compute = self.config.vector, Arithmetic(self.config.numerics)
        times = None if factor is None else float(fmt.from_bits(factor))
        return sample(compute, fmt.from_bits(logits), times, state)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, fmt, v = self.config, self.config.vector, self.config.lanes
        held = Signal(data.ArrayLayout(fmt.width, v))
        left = Signal(range(v + 1))
        index, count = Signal(shape(c, "n")), Signal(shape(c, "n"))
        seat, context = Signal(number(c.contexts)), Signal(number(c.contexts))
        step = Signal()
        item = self.logits.payload
        m.d.comb += [
            self.logits.ready.eq(left <= 1),
            step.eq((left != 0) & (index < count)),
        ]
        with m.If(self.logits.valid):
            m.d.sync += [
                held.eq(item.values),
                left.eq(v),
                index.eq(item.word << (v.bit_length() - 1)),
                seat.eq(item.seat),
                context.eq(self.seating.seats[item.seat].context),
            ]
        with m.Elif(left != 0):
            m.d.sync += [
                left.eq(left - 1),
                held.eq(held.as_value() >> fmt.width),
                index.eq(index + 1),
            ]
        with m.If(self.start):
            m.d.sync += count.eq(self.count)

        greedy = self.greedy.bit_select(context, 1)
        m.submodules.noise = noise = GumbelNoise(c.contexts, table=c.numerics.lmul)
        m.submodules.scale = multiply = multiplier(self.config.numerics)
        m.submodules.key = key = FloatToKey(fmt)
        m.d.comb += [
            noise.load.eq(self.load),
            noise.loaded.eq(self.loaded),
            noise.seed.eq(self.seed),
            noise.step.eq(step & ~greedy),
            noise.context.eq(context),
            multiply.a.eq(held[0]),
            multiply.b.eq(self.factor[context]),
            key.a.eq(multiply.o),
        ]
        latency = PRODUCT_LATENCY + FloatToKey.latency
        assert latency >= GumbelNoise.latency
        plain = delayed(m, ordered_key(fmt, held[0]), latency, "plain")
        random = delayed(m, noise.o, latency - GumbelNoise.latency, "noise")
        last = (index + 1 == count) & (seat == self.seating.last)
        valid, opens, ends, plainly = delayed(
            m, Cat(step, index == 0, last, greedy), latency, "flags", reset=True
        )
        where, whose = delayed(m, index, latency, "where"), delayed(m, seat, latency, "whose")
        candidate = Signal(signed(KEY_BITS))
        m.d.comb += candidate.eq(Mux(plainly, plain, key.o + random))
        best = Array(Signal(signed(KEY_BITS), name=f"best{k}") for k in range(c.contexts))
        with m.If(valid & (opens | (candidate > best[whose]))):
            m.d.sync += [best[whose].eq(candidate), self.token[whose].eq(where)]
        m.d.sync += self.done.eq(valid & ends)
        return m
