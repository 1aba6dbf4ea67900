"""Reciprocal square root by a table over one pair of octaves."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import Ints, rsqrt_table
from setun.hw.arith.bits import Fields, bits_shape, exponent_field, pipe, rom


class Rsqrt(wiring.Component):
    """o = 1/sqrt(a) rounded once, as `setun.firmware.numerics.functions.rsqrt`, one per cycle.

    Parameters
    ----------
    fmt
        Number format of operand and result.

    Members
    -------
    a : In(fmt.width)
        Argument. Zero and negative numbers give the largest number.
    o : Out(fmt.width)
        Correctly rounded reciprocal square root.

    Latency: 2 cycles (table | select). Throughput: 1 per cycle. One block RAM (2**(M+1) x M).
    """

    latency = 2

    def __init__(self, fmt: Format) -> None:
        self.fmt = fmt
        w = bits_shape(fmt)
        super().__init__({"a": In(w), "o": Out(w)})

    def model(self, a: ArrayLike) -> Ints:
        """Bit patterns of the reciprocal square roots of an array of bit patterns."""
        fmt = self.fmt
        bits = np.asarray(a).astype(np.int64)
        x = fmt.from_bits(bits)
        positive = (x > 0.0) & (exponent_field(fmt, bits) > 0)
        root = fmt.round(1.0 / np.sqrt(np.where(positive, x, 1.0)))
        return fmt.to_bits(np.where(positive, root, fmt.largest)).astype(np.int64)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fmt = self.fmt
        x = Fields(fmt, self.a)
        # The bias is odd: an odd field is an even exponent, the table's first half.
        address = Cat(x.mantissa, ~x.exponent[0])
        entry = rom(m, rsqrt_table(fmt), fmt.mantissa, address, name="roots")

        # -floor((e - bias) / 2) - 1 + bias, plus one for a power of four.
        one = x.exponent[0] & ~x.mantissa.any()
        half = Signal(fmt.exponent)
        m.d.comb += half.eq(x.exponent[1:] + x.exponent[0])
        start = fmt.bias - 1 + (fmt.bias + 1) // 2
        field1 = pipe(m, (Const(start, fmt.exponent + 1) - half + one)[: fmt.exponent], "field1")
        bad1 = pipe(m, ~x.nonzero | x.sign, "bad1")

        largest = (1 << (fmt.width - 1)) - 1
        m.d.comb += self.o.eq(pipe(m, Mux(bad1, largest, Cat(entry, field1)), "result"))
        return m
