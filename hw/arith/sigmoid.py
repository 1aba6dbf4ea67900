"""Logistic sigmoid by a piecewise linear table."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.formats import Format
from setun.firmware.functions import (
    SIGMOID_ARGUMENT,
    SIGMOID_BITS,
    SIGMOID_FRACTION,
    SIGMOID_RANGE,
    Ints,
    sigmoid,
    sigmoid_table,
)
from setun.hw.arith.bits import Fields, bits_shape, pack, pipe, rom, round_up, shift_right


class Sigmoid(wiring.Component):
    """o = sigmoid(a) as `setun.firmware.functions.sigmoid_exact` defines it, one per cycle.

    Parameters
    ----------
    fmt
        Number format of operand and result.

    Members
    -------
    a : In(fmt.width)
        Argument. A zero exponent field is zero whatever the other bits.
    o : Out(fmt.width)
        The chip's sigmoid; relative error below 2**-12 before the one rounding.

    Latency: 5 cycles (align | table | interpolate | subtract | complement, round, pack).
    Throughput: 1 per cycle. One block RAM (512 x 27) and one multiplier.
    """

    latency = 5

    def __init__(self, fmt: Format) -> None:
        self.fmt = fmt
        w = bits_shape(fmt)
        super().__init__({"a": In(w), "o": Out(w)})

    def model(self, a: ArrayLike) -> Ints:
        """Bit patterns of the sigmoids of an array of bit patterns."""
        y = sigmoid(self.fmt, np.atleast_1d(self.fmt.from_bits(a)))
        return self.fmt.to_bits(y).astype(np.int64).reshape(np.shape(a))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fmt = self.fmt
        n = fmt.mantissa

        x = Fields(fmt, self.a)
        octaves = SIGMOID_RANGE.bit_length() - 1
        width = octaves + SIGMOID_ARGUMENT
        shift = Signal(signed(fmt.exponent + 2))
        m.d.comb += shift.eq(fmt.bias + octaves - 1 - x.exponent)
        amount = width.bit_length()
        aligned = Cat(Const(0, width - 1 - n), x.significand)
        placed = shift_right(m, aligned, shift[:amount], name="placed")
        over = shift[-1]
        far = ~over & shift[amount:].any()
        argument = Signal(width)
        m.d.comb += argument.eq(Mux(x.nonzero & ~far, placed | over.replicate(width), 0))
        argument1 = pipe(m, argument, "argument1")
        below1 = pipe(m, x.sign & x.nonzero, "below1")

        # base lies in [2**13, 2**14): its leading one needs no storage.
        base, drop, exponent = sigmoid_table()
        drop_bits = SIGMOID_BITS - 4
        exponent_bits = 5
        words = (base - (1 << SIGMOID_BITS)) | drop << SIGMOID_BITS
        words |= exponent << (SIGMOID_BITS + drop_bits)
        data = rom(
            m, words, SIGMOID_BITS + drop_bits + exponent_bits,
            argument1[SIGMOID_FRACTION:], name="segments",
        )  # fmt: skip
        position2 = pipe(m, argument1[:SIGMOID_FRACTION], "position2")
        below2 = pipe(m, below1, "below2")

        slope = data[SIGMOID_BITS : SIGMOID_BITS + drop_bits]
        product3 = pipe(m, slope * position2, "product3")
        base3 = pipe(m, Cat(data[:SIGMOID_BITS], Const(1, 1)), "base3")
        exponent3 = pipe(m, data[SIGMOID_BITS + drop_bits :], "exponent3")
        below3 = pipe(m, below2, "below3")

        # (product + half) >> 8 is its upper part plus the bit below, here the borrow of one chain.
        upper = product3[SIGMOID_FRACTION:]
        point = Signal(SIGMOID_BITS + 2)
        m.d.comb += point.eq(Cat(Const(0, 1), base3) - Cat(product3[SIGMOID_FRACTION - 1], upper))
        p4 = pipe(m, point[1:], "p4")
        exponent4 = pipe(m, exponent3, "exponent4")
        below4 = pipe(m, below3, "below4")
        return self._finish(m, p4, exponent4, below4)

    def _finish(self, m: Module, p: Signal, exponent: Signal, below: Signal) -> Module:
        """Last stage: p * 2**-(exponent+13), or one minus it, rounded once."""
        fmt = self.fmt
        n = fmt.mantissa
        top = SIGMOID_BITS
        width = 16
        cut = Signal(width)
        # exponent >= 1: the first shift is wired.
        tail = Signal(len(exponent))
        m.d.comb += tail.eq(exponent - 1)
        shifted = shift_right(m, Cat(Const(0, 2), p), tail, name="cut")
        m.d.comb += cut.eq(shifted)
        above = Signal(width + 1)
        m.d.comb += above.eq((1 << width) - cut)

        # Below: leading one at bit 13 or, late in a segment, at bit 12. Above: at bit 15, or 1.0.
        high = p[top]
        spread = Mux(high, Cat(Const(0, 2), p), Cat(Const(0, 3), p[:top]))
        chosen = Mux(below, spread, above[:width])
        one = ~below & above[width]
        mantissa = chosen[width - 1 - n : width - 1]
        rest = chosen[: width - 1 - n]
        up = round_up(mantissa[0], rest[-1], rest[:-1].any())
        field = Signal(signed(fmt.exponent + 2))
        m.d.comb += field.eq(
            Mux(below, fmt.bias - 1 - exponent + high, Mux(one, fmt.bias, fmt.bias - 1))
        )
        m.d.sync += self.o.eq(
            pack(m, fmt, zero=Const(0, 1), sign=Const(0, 1), exponent=field, mantissa=mantissa,
                 up=up)
        )  # fmt: skip
        return m
