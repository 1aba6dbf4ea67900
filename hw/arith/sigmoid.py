"""Logistic sigmoid by a piecewise linear table."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import (
    SIGMOID_ARGUMENT,
    SIGMOID_BITS,
    SIGMOID_FRACTION,
    SIGMOID_RANGE,
    Ints,
    sigmoid,
    sigmoid_table,
)
from setun.hw.arith.bits import (
    Fields,
    bits_shape,
    pack,
    pipe,
    rom,
    round_up,
    shift_and_add,
    shift_right,
)

DROP_BITS = SIGMOID_BITS - 4
EXPONENT_BITS = 5


class Sigmoid(wiring.Component):
    """o = sigmoid(a), `setun.firmware.numerics.functions.sigmoid_exact`, one per cycle.

    Parameters
    ----------
    fmt
        Number format of operand and result.
    adders
        Slope times position by additions instead of a multiplier; the result is the same.

    Members
    -------
    a : In(fmt.width)
        Argument. A zero exponent field is zero whatever the other bits.
    o : Out(fmt.width)
        The chip's sigmoid; relative error below 2**-12 before the one rounding.

    Latency: 5 cycles (align, address | fetch | multiply | subtract, shift | complement, round).
    Throughput: 1 per cycle. One block RAM (512 x 27) and one multiplier
    or, with `adders`, seven additions.
    """

    latency = 5

    def __init__(self, fmt: Format, *, adders: bool = False) -> None:
        self.fmt, self.adders = fmt, adders
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
        below1 = pipe(m, x.sign & x.nonzero, "below1")
        position1 = pipe(m, argument[:SIGMOID_FRACTION], "position1")

        # base lies in [2**13, 2**14): its leading one needs no storage.
        base, drop, exponent = sigmoid_table()
        words = (base - (1 << SIGMOID_BITS)) | drop << SIGMOID_BITS
        words |= exponent << (SIGMOID_BITS + DROP_BITS)
        width = SIGMOID_BITS + DROP_BITS + EXPONENT_BITS
        data = pipe(m, rom(m, words, width, argument[SIGMOID_FRACTION:], name="segments"), "data")
        below2 = pipe(m, below1, "below2")
        position2 = pipe(m, position1, "position2")

        slope = data[SIGMOID_BITS : SIGMOID_BITS + DROP_BITS]
        if self.adders:
            product = shift_and_add(m, slope, position2, name="product")
        else:
            product = slope * position2
        product3 = pipe(m, product, "product3")
        base3 = pipe(m, Cat(data[:SIGMOID_BITS], Const(1, 1)), "base3")
        exponent3 = pipe(m, data[SIGMOID_BITS + DROP_BITS :], "exponent3")
        below3 = pipe(m, below2, "below3")
        return self._finish(m, product3, base3, exponent3, below3)

    def _finish(
        self, m: Module, product: Value, base: Value, exponent: Value, below: Value
    ) -> Module:
        """Last two stages: p * 2**-(exponent+13), or one minus it, rounded once."""
        fmt = self.fmt
        n = fmt.mantissa
        # (product + half) >> 8 is its upper part plus the bit below, here the borrow of one chain.
        point = Signal(SIGMOID_BITS + 2)
        m.d.comb += point.eq(
            Cat(Const(0, 1), base) - Cat(product[SIGMOID_FRACTION - 1], product[SIGMOID_FRACTION:])
        )
        p = point[1:]
        # exponent >= 1: the first shift is wired.
        tail = (exponent - 1)[:EXPONENT_BITS]
        p4 = pipe(m, p, "p4")
        cut4 = pipe(m, shift_right(m, Cat(Const(0, 2), p), tail, name="cut"), "cut4")
        below4 = pipe(m, below, "below4")
        field = Signal(signed(fmt.exponent + 2))
        m.d.comb += field.eq(fmt.bias - 1 - Mux(below, exponent, 0))
        field4 = pipe(m, field, "field4")

        # Below: leading one at bit 13 or, late in a segment, at bit 12. Above: at bit 15, or 1.0.
        width = len(cut4)
        above = Signal(width + 1)
        m.d.comb += above.eq((1 << width) - cut4)
        high = p4[-1]
        spread = Mux(high, Cat(Const(0, 2), p4), Cat(Const(0, 3), p4[:-1]))
        chosen = Mux(below4, spread, above[:width])
        mantissa = chosen[width - 1 - n : width - 1]
        rest = chosen[: width - 1 - n]
        result = pack(
            m,
            fmt,
            zero=Const(0, 1),
            sign=Const(0, 1),
            exponent=field4,
            mantissa=mantissa,
            up=round_up(mantissa[0], rest[-1], rest[:-1].any()),
            step=Mux(below4, high, above[width]),
        )
        m.d.comb += self.o.eq(pipe(m, result, "result"))
        return m
