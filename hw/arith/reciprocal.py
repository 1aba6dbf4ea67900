"""Reciprocals by a table over one octave."""

from functools import lru_cache
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import Ints
from setun.hw.arith.bits import Fields, bits_shape, pipe, rom


@lru_cache(maxsize=4)
def reciprocal_table(fmt: Format) -> Ints:
    """Mantissas of 1/x for the mantissas of x in [1, 2): [2**M], 0 for 1 itself."""
    scale = 1 << fmt.mantissa
    x = 1.0 + np.arange(scale) / scale
    return fmt.to_bits(fmt.round(1.0 / x)).astype(np.int64) & (scale - 1)


class Reciprocal(wiring.Component):
    """o = 1/a rounded once, as `setun.firmware.numerics.attention.reciprocal`; positive a.

    Parameters
    ----------
    fmt
        Number format of operand and result.

    Members
    -------
    a : In(fmt.width)
        A number above 0.
    o : Out(fmt.width)
        Correctly rounded reciprocal, flushed to zero below the smallest number.

    Latency: 2 cycles (table | flush). Throughput: 1 per cycle. One block RAM (2**M x M).
    """

    latency = 2

    def __init__(self, fmt: Format) -> None:
        self.fmt = fmt
        super().__init__({"a": In(bits_shape(fmt)), "o": Out(bits_shape(fmt))})

    def model(self, a: ArrayLike) -> Ints:
        """Bit patterns of the reciprocals of an array of bit patterns."""
        x = self.fmt.from_bits(a)
        return self.fmt.to_bits(self.fmt.round(1.0 / x)).astype(np.int64)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fmt = self.fmt
        x = Fields(fmt, self.a)
        entry = rom(m, reciprocal_table(fmt), fmt.mantissa, x.mantissa, name="reciprocals")
        field = Signal(signed(fmt.exponent + 2))
        m.d.comb += field.eq(2 * fmt.bias - x.exponent - x.mantissa.any())
        field1 = pipe(m, field, "field1")
        below = field1[-1] | ~field1.any()
        result = Mux(below, 0, Cat(entry, field1[: fmt.exponent], Const(0, 1)))
        m.d.comb += self.o.eq(pipe(m, result, "result"))
        return m
