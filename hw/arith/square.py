"""Squares on a common exponent: the terms of a block floating point sum of squares."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.formats import Format
from setun.firmware.functions import Ints
from setun.hw.arith.bits import (
    Fields,
    bits_shape,
    exponent_field,
    pipe,
    shift_right,
    significand,
)

SQUARE_BITS = 16  # magnitude bits below the block's largest exponent


class BlockSquare(wiring.Component):
    """o = A * A with A = floor(|a| * 2**(15 - (exponent - bias))), one per cycle.

    Parameters
    ----------
    fmt
        Number format of the elements.

    Members
    -------
    a : In(fmt.width)
        Element. A zero exponent field is zero whatever the other bits.
    exponent : In(fmt.exponent)
        Largest exponent field of the vector; an element beyond it gives 0.
    o : Out(32)
        Square of the 16-bit magnitude, in units of 4**(exponent - bias - 15).

    Latency: 2 cycles (align | multiply). Throughput: 1 per cycle. One multiplier.
    """

    latency = 2

    def __init__(self, fmt: Format) -> None:
        self.fmt = fmt
        super().__init__(
            {
                "a": In(bits_shape(fmt)),
                "exponent": In(fmt.exponent),
                "o": Out(2 * SQUARE_BITS),
            }
        )

    def model(self, a: ArrayLike, exponent: ArrayLike) -> Ints:
        """Squares of arrays of bit patterns and block exponents."""
        fmt = self.fmt
        bits = np.asarray(a).astype(np.int64)
        d = np.asarray(exponent).astype(np.int64) - exponent_field(fmt, bits)
        size = significand(fmt, bits) << (SQUARE_BITS - 1 - fmt.mantissa)
        size = np.where(d < 0, 0, size >> np.clip(d, 0, SQUARE_BITS))
        return size * size

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fmt = self.fmt
        x = Fields(fmt, self.a)
        distance = Signal(signed(fmt.exponent + 1))
        m.d.comb += distance.eq(self.exponent - x.exponent)
        amount = (SQUARE_BITS - 1).bit_length()
        aligned = Cat(Const(0, SQUARE_BITS - 1 - fmt.mantissa), x.significand)
        placed = shift_right(m, aligned, distance[:amount], name="placed")
        out = distance[amount:].any() | ~x.nonzero
        size = pipe(m, Mux(out, 0, placed), "size")
        m.d.comb += self.o.eq(pipe(m, size * size, "result"))
        return m
