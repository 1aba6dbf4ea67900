"""Scale of a quantised vector: max / rms, once per projection, on one multiplier and one adder."""

from collections.abc import Mapping

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.numerics.arithmetic import SQUARE_BITS, Arithmetic, MeanSquare
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import Numerics
from setun.hw.arith import FloatAdder, FloatFromInt, Rsqrt, TimesPower, multiplier

SUM_BITS = 48  # sums of squares, with a sign: see `setun.firmware.config.MOST_COLUMNS`
SQUARE_FRACTION = SQUARE_BITS - 1  # squares count in units of 4**(exponent - bias - 15)


def statistics(fmt: Format) -> data.StructLayout:
    """What a pass over a vector leaves: sums of squares with their exponents, and the maximum."""
    return data.StructLayout(
        {
            "own_sum": unsigned(SUM_BITS - 1),  # of x, before the outer gain
            "own_exponent": unsigned(fmt.exponent),
            "gained_sum": unsigned(SUM_BITS - 1),  # of x * outer
            "gained_exponent": unsigned(fmt.exponent),
            "largest": unsigned(fmt.width),  # of |x * gain|
            "inverse_n": unsigned(fmt.width),
            "mean_square": unsigned(2),
        }
    )


class ScaleUnit(wiring.Component):
    """scale = largest / sqrt(m2 + eps_inner * (m1 + eps_outer)), the compiler's folded norms.

    With codes in fp8 it is the power of two in `largest`, instead of `largest`.

    m2 is the mean of squares of x*outer, m1 that of x itself, of the array's last rows, or absent
    (then eps_inner is added as it is), as `mean_square` says; or the scale is `largest` alone.

    Parameters
    ----------
    numerics
        Formats and algorithms.
    bare
        Whether there are vectors without any norm, of which the scale is `largest` alone.

    Members
    -------
    i : In(stream of `statistics`)
        Taken when the scale is ready.
    array_sum : In(fmt.width)
        Sum of squares of the array's last rows; stable while a vector is in work.
    eps_outer, eps_inner : In(fmt.width)
    o : Out(stream of fmt.width)
        Scales, in order.

    Latency 17 cycles: a fixed schedule on one converter, multiplier, adder and rsqrt table. Both
    mean squares travel one cycle apart through the same units.
    """

    def __init__(self, numerics: Numerics, *, bare: bool = False) -> None:
        self.numerics, self.fmt, self.bare = numerics, numerics.vector, bare
        fmt = self.fmt
        super().__init__(
            {
                "i": In(stream.Signature(statistics(fmt))),
                "array_sum": In(fmt.width),
                "eps_outer": In(fmt.width),
                "eps_inner": In(fmt.width),
                "o": Out(stream.Signature(fmt.width)),
            }
        )

    def model(self, i: Mapping[str, int], array_sum: int, eps_outer: int, eps_inner: int) -> int:
        """Bits of the scale of `statistics` and the other members' bits."""
        fmt, compute = self.fmt, Arithmetic(self.numerics)
        number = {name: float(fmt.from_bits(i[name])) for name in ("largest", "inverse_n")}

        def total(which: str) -> float:
            exponent = i[f"{which}_exponent"] - (fmt.bias + SQUARE_FRACTION)
            return fmt.round1(i[f"{which}_sum"] * 4.0**exponent)

        mode = MeanSquare(i["mean_square"])
        of_rows = float(fmt.from_bits(array_sum))
        _, top = compute.codes(np.zeros(1), number["largest"])
        scale = compute.norm(
            top,
            total("gained"),
            total("own") if mode is MeanSquare.OWN else of_rows,
            number["inverse_n"],
            (float(fmt.from_bits(eps_outer)), float(fmt.from_bits(eps_inner))),
            mode,
        )
        return int(fmt.to_bits(scale)[0])

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fmt = self.fmt
        m.submodules.convert = convert = FloatFromInt(fmt, SUM_BITS, scaled=True)
        m.submodules.multiply = multiply = multiplier(self.numerics)
        m.submodules.add = add = FloatAdder(fmt)
        m.submodules.rsqrt = rsqrt = Rsqrt(fmt)
        s = self.i.payload
        scale = multiply.o
        if self.numerics.fp8:  # the codes are those of the power of two in the maximum
            m.submodules.power = power = TimesPower(fmt)
            assert power.latency == multiply.latency
            m.d.comb += [power.a.eq(rsqrt.o), power.b.eq(s.largest)]
            scale = power.o
        if self.bare:
            low = fmt.mantissa if self.numerics.fp8 else 0
            top = Cat(Const(0, low), s.largest[low:])
            scale = Mux(s.mean_square == MeanSquare.UNIT, top, scale)

        own, gained = 0, 1
        own_mean = own + convert.latency
        gained_mean = gained + convert.latency
        plus_outer = own_mean + multiply.latency
        keep_gained = gained_mean + multiply.latency
        times_inner = plus_outer + add.latency
        join = times_inner + multiply.latency
        root = join + add.latency
        finish = root + rsqrt.latency
        end = finish + multiply.latency

        time = Signal(range(end + 2))
        mean = Signal(fmt.width)
        exponent = Signal(fmt.exponent)
        # The multiplier goes on working while the scale waits to be taken.
        waiting, held = Signal(), Signal(fmt.width)
        m.d.sync += exponent.eq(Mux(time == own, s.own_exponent, s.gained_exponent))
        offset = Signal(signed(fmt.exponent + 2))
        m.d.comb += [
            convert.a.eq(Mux(time == own, s.own_sum, s.gained_sum)),
            offset.eq((exponent - (fmt.bias + SQUARE_FRACTION)) << 1),
            convert.exponent.eq(offset),
            rsqrt.a.eq(add.o),
            self.o.payload.eq(Mux(waiting, held, scale)),
        ]
        with m.If(time == own_mean):
            array = s.mean_square == MeanSquare.ARRAY
            m.d.comb += multiply.a.eq(Mux(array, self.array_sum, convert.o))
            m.d.comb += multiply.b.eq(s.inverse_n)
        with m.Elif(time == gained_mean):
            m.d.comb += [multiply.a.eq(convert.o), multiply.b.eq(s.inverse_n)]
        with m.Elif(time == times_inner):
            m.d.comb += [multiply.a.eq(add.o), multiply.b.eq(self.eps_inner)]
        with m.Else():
            m.d.comb += [multiply.a.eq(rsqrt.o), multiply.b.eq(s.largest)]
        with m.If(time == plus_outer):
            m.d.comb += [add.a.eq(multiply.o), add.b.eq(self.eps_outer)]
        with m.Else():
            bare = s.mean_square == MeanSquare.NONE
            m.d.comb += add.a.eq(mean)
            m.d.comb += add.b.eq(Mux(bare, self.eps_inner, multiply.o))
        with m.If(time == keep_gained):
            m.d.sync += mean.eq(multiply.o)

        with m.If(time == end):
            m.d.comb += [self.o.valid.eq(1), self.i.ready.eq(self.o.ready)]
            m.d.sync += [waiting.eq(~self.o.ready), held.eq(self.o.payload)]
            with m.If(self.o.ready):
                m.d.sync += time.eq(0)
        with m.Elif((time != 0) | self.i.valid):
            m.d.sync += time.eq(time + 1)
        return m
