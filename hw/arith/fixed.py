"""Floats cut to fixed point."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import Ints
from setun.hw.arith.bits import Fields, bits_shape, pipe


class FloatToFixed(wiring.Component):
    """o = floor(a * 2**fraction), at most 2**bits - 1 and at least -2**bits.

    Parameters
    ----------
    fmt
        Number format of the operand.
    bits
        Of the result beside its sign; at least those of a significand.
    fraction
        Fraction bits of the result.

    Members
    -------
    a : In(fmt.width)
        Number. A zero exponent field is zero whatever the other bits.
    o : Out(signed(bits + 1))

    Latency: 2 cycles (align | sign). Throughput: 1 per cycle.
    """

    latency = 2

    def __init__(self, fmt: Format, bits: int, fraction: int) -> None:
        self.fmt, self.bits, self.fraction = fmt, bits, fraction
        super().__init__({"a": In(bits_shape(fmt)), "o": Out(signed(bits + 1))})

    def model(self, a: ArrayLike) -> Ints:
        """Results of an array of bit patterns."""
        x = np.floor(np.ldexp(self.fmt.from_bits(a), self.fraction))
        return np.clip(x, -(2.0**self.bits), 2.0**self.bits - 1).astype(np.int64)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fmt, width = self.fmt, self.bits
        x = Fields(fmt, self.a)
        # The largest exponent that fits puts the leading one at the top of the magnitude.
        top = fmt.bias + width - 1 - self.fraction
        shift = Signal(signed(fmt.exponent + 2))
        m.d.comb += shift.eq(top - x.exponent)
        value: Value = Cat(Const(0, width - 1 - fmt.mantissa), x.significand)
        lost: Value = Const(0, 1)
        amount = width.bit_length()
        for k in range(amount):
            stage, fell = Signal(width, name=f"placed{k}"), Signal(name=f"lost{k}")
            m.d.comb += [
                stage.eq(Mux(shift[k], value >> (1 << k), value)),
                fell.eq(lost | (shift[k] & value[: 1 << k].any())),
            ]
            value, lost = stage, fell
        over = shift[-1]
        far = ~over & shift[amount:].any()
        size, rest = Signal(width), Signal()
        m.d.comb += [
            size.eq(Mux(x.nonzero & ~far, value | over.replicate(width), 0)),
            rest.eq(x.nonzero & (far | lost | over)),
        ]
        size1, rest1, sign1 = (
            pipe(m, size, "size1"),
            pipe(m, rest, "rest1"),
            pipe(m, x.sign & x.nonzero, "sign1"),
        )
        # The floor of a negative number is its complement where something was cut off.
        flipped = Cat(size1, Const(0, 1)) ^ sign1.replicate(width + 1)
        result = (flipped + (sign1 & ~rest1))[: width + 1]
        m.d.comb += self.o.eq(pipe(m, result, "result"))
        return m
