"""Sampler: the token with the largest logit, or the largest logit/T + Gumbel noise."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware import functions
from setun.firmware.config import ChipConfig
from setun.hw.arith import FloatMultiplier, FloatToKey, ordered_key
from setun.hw.arith.bits import leading_zeros, rom
from setun.hw.pipeline import delayed

KEY_BITS = 24  # a 22-bit key plus noise of up to 22*1024; at least a number's width when greedy


class GumbelNoise(wiring.Component):
    """Gumbel noise from a seeded xorshift32 generator, as `setun.firmware.functions` defines it.

    Members
    -------
    load : In(1), seed : In(32)
        Start the generator at `seed`, not 0.
    step : In(1)
        Draw the next number.
    o : Out(signed(16))
        Noise in 1/1024, `latency` cycles after its step.
    """

    latency = 3

    def __init__(self) -> None:
        super().__init__({"load": In(1), "seed": In(32), "step": In(1), "o": Out(signed(16))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        state = Signal(32, init=1)
        a, b, following = Signal(32), Signal(32), Signal(32)
        m.d.comb += [
            a.eq(state ^ (state << 13)[:32]),
            b.eq(a ^ (a >> 17)),
            following.eq(b ^ (b << 5)[:32]),
        ]
        with m.If(self.load):
            m.d.sync += state.eq(self.seed)
        with m.Elif(self.step):
            m.d.sync += state.eq(following)

        zeros = leading_zeros(m, state, name="zeros")
        octave = Signal(3)
        m.d.comb += octave.eq(Mux(zeros > 7, 7, zeros))
        aligned = Signal(32)
        m.d.comb += aligned.eq(state << zeros)
        index = Signal(9)
        m.d.sync += index.eq(Cat(aligned[25:31], octave))
        beyond = Signal(5)
        m.d.comb += beyond.eq(Mux(zeros > 7, zeros - 7, 0))
        extra = delayed(m, beyond, 2, "beyond")
        table = functions.gumbel_table() & 0xFFFF
        value = rom(m, table, 16, index, name="table")
        m.d.comb += self.o.eq(value.as_signed() + extra * functions.LN2_FIXED)
        return m


class Sampler(wiring.Component):
    """Argmax over streamed logits, one per cycle; the lowest index wins ties.

    Members
    -------
    start : In(1)
        Begin a token of `count` logits.
    count : In(16)
        Taken with `start`.
    greedy : In(1), factor : In(fmt.width)
        Mode and 1/T, stable until `done`.
    load, seed : In
        Seed the noise; one number is drawn per logit when not greedy.
    logits : In(stream of V floats)
        At most one item per V cycles.
    token : Out(16), done : Out(1)
        The winner, and a strobe when it is known.

    Latency: V + 6 cycles after the last item.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        w = config.vector.width
        super().__init__(
            {
                "start": In(1),
                "count": In(16),
                "greedy": In(1),
                "factor": In(w),
                "load": In(1),
                "seed": In(32),
                "logits": In(stream.Signature(data.ArrayLayout(w, config.lanes))),
                "token": Out(16),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fmt, v = self.config.vector, self.config.lanes
        held = Signal(data.ArrayLayout(fmt.width, v))
        left = Signal(range(v + 1))
        index, count = Signal(16), Signal(16)
        step = Signal()
        m.d.comb += [
            self.logits.ready.eq(left <= 1),
            step.eq((left != 0) & (index != count)),
        ]
        with m.If(self.logits.valid):
            m.d.sync += [held.eq(self.logits.payload), left.eq(v)]
        with m.Elif(left != 0):
            m.d.sync += [left.eq(left - 1), held.eq(held.as_value() >> fmt.width)]
        with m.If(self.start):
            m.d.sync += [index.eq(0), count.eq(self.count)]
        with m.Elif(step):
            m.d.sync += index.eq(index + 1)

        m.submodules.noise = noise = GumbelNoise()
        m.submodules.scale = multiply = FloatMultiplier(fmt)
        m.submodules.key = key = FloatToKey(fmt)
        m.d.comb += [
            noise.load.eq(self.load),
            noise.seed.eq(self.seed),
            noise.step.eq(step & ~self.greedy),
            multiply.a.eq(held[0]),
            multiply.b.eq(self.factor),
            key.a.eq(multiply.o),
        ]
        latency = FloatMultiplier.latency + FloatToKey.latency
        assert latency >= GumbelNoise.latency
        plain = delayed(m, ordered_key(fmt, held[0]), latency, "plain")
        random = delayed(m, noise.o, latency - GumbelNoise.latency, "noise")
        flags = delayed(m, Cat(step, index == 0, index + 1 == count), latency, "flags",
                        reset=True)  # fmt: skip
        where = delayed(m, index, latency, "where")
        candidate = Signal(signed(KEY_BITS))
        m.d.comb += candidate.eq(Mux(self.greedy, plain, key.o + random))
        best = Signal(signed(KEY_BITS))
        with m.If(flags[0] & (flags[1] | (candidate > best))):
            m.d.sync += [best.eq(candidate), self.token.eq(where)]
        m.d.sync += self.done.eq(flags[0] & flags[2])
        return m
