"""Conversions between floats and integers."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.errors import SetunError
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import KEY_LIMIT, NOISE_FRACTION, Ints
from setun.hw.arith.bits import (
    Fields,
    bits_shape,
    leading_zeros,
    pack,
    pipe,
    round_up,
    shift_right,
)

KEY_BITS = KEY_LIMIT.bit_length()  # width of a sampling key, sign included


class FloatFromInt(wiring.Component):
    """o = round(a * 2**(exponent - fraction)) of a signed integer, one per cycle.

    Parameters
    ----------
    fmt
        Number format of the result.
    width
        Bits of the integer, sign included; 2 to 48.
    scaled
        Whether there is an `exponent`; without it, it is 0.
    fraction
        Fraction bits of the integer, 0 to 32.

    Members
    -------
    a : In(signed(width))
        Integer, the most negative one included.
    exponent : In(signed(fmt.exponent + 2))
        Only if `scaled`; taken one cycle after `a`. |exponent - fraction| is below
        2**(E+1) - 2**(E-1) - 48.
    o : Out(fmt.width)
        The number rounded to nearest even, flushed and saturated; 0 is all-zero bits.

    Latency: 2 cycles (magnitude, leading zeros | normalise, round, pack).
    Throughput: 1 per cycle.
    """

    latency = 2

    def __init__(self, fmt: Format, width: int, scaled: bool = False, fraction: int = 0) -> None:
        if not 2 <= width <= 48:
            raise SetunError("integer width", "must be 2 to 48 bits", width)
        self.fmt = fmt
        self.width = width
        self.scaled = scaled
        self.fraction = fraction
        members = {"a": In(signed(width)), "o": Out(bits_shape(fmt))}
        if scaled:
            members["exponent"] = In(signed(fmt.exponent + 2))
        super().__init__(members)

    def model(self, a: ArrayLike, exponent: ArrayLike = 0) -> Ints:
        """Bit patterns of an array of integers times 2**(exponent - fraction)."""
        x = np.ldexp(np.asarray(a, np.float64), np.asarray(exponent) - self.fraction)
        return self.fmt.to_bits(x).astype(np.int64)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fmt = self.fmt
        n = fmt.mantissa
        negative = self.a[-1]
        flipped = self.a.as_unsigned() ^ negative.replicate(self.width)
        size = Signal(self.width)
        m.d.comb += size.eq(flipped + negative)
        # At least a significand, its guard and one more bit, so that every slice below exists.
        width = max(self.width, n + 3)
        padding = width - self.width
        size1 = pipe(m, Cat(Const(0, padding), size), "size1")
        # Counted beside the negation, not after it: one too many for a negative power of two,
        # whose single one then lands on the bit above.
        counted = Cat(Const((1 << padding) - 1, padding), flipped)
        zeros1 = pipe(m, leading_zeros(m, counted, name="zeros"), "zeros1")
        sign1 = pipe(m, negative, "sign1")

        normal = Signal(width + 1)
        m.d.comb += normal.eq(size1 << zeros1)
        mantissa = normal[width - 1 - n : width - 1]
        rest = normal[: width - 1 - n]
        up = round_up(mantissa[0], rest[-1], rest[:-1].any())
        exponent = Signal(signed(fmt.exponent + 2))
        offset = self.exponent if self.scaled else Const(0, 1)
        top = fmt.bias + self.width - 1 - self.fraction
        m.d.comb += exponent.eq(top - zeros1 + offset)
        above = normal[-1]
        result = pack(
            m,
            fmt,
            zero=~(above | normal[-2]),
            sign=sign1,
            exponent=exponent,
            mantissa=mantissa,
            up=up,
            step=above,
        )
        m.d.comb += self.o.eq(pipe(m, result, "result"))
        return m


class FloatToKey(wiring.Component):
    """o = sign(a) * min(floor(|a| * 2**10), 2**21 - 1): the sampling key of a logit.

    Parameters
    ----------
    fmt
        Number format of the operand.

    Members
    -------
    a : In(fmt.width)
        Logit. A zero exponent field is zero whatever the other bits.
    o : Out(signed(22))
        Key, in units of 2**-10.

    Latency: 2 cycles (align | sign). Throughput: 1 per cycle.
    """

    latency = 2

    def __init__(self, fmt: Format) -> None:
        self.fmt = fmt
        super().__init__({"a": In(bits_shape(fmt)), "o": Out(signed(KEY_BITS))})

    def model(self, a: ArrayLike) -> Ints:
        """Keys of an array of bit patterns."""
        x = self.fmt.from_bits(a)
        size = np.minimum(np.floor(np.abs(x) * (1 << NOISE_FRACTION)), KEY_LIMIT - 1)
        return (np.sign(x) * size).astype(np.int64)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fmt = self.fmt
        x = Fields(fmt, self.a)
        width = KEY_BITS - 1
        # The largest exponent that fits puts the leading one at the top of the magnitude.
        top = fmt.bias + width - 1 - NOISE_FRACTION
        shift = Signal(signed(fmt.exponent + 2))
        m.d.comb += shift.eq(top - x.exponent)
        amount = width.bit_length()
        aligned = Cat(Const(0, width - 1 - fmt.mantissa), x.significand)
        placed = shift_right(m, aligned, shift[:amount], name="placed")
        over = shift[-1]
        far = ~over & shift[amount:].any()
        size = Signal(width)
        m.d.comb += size.eq(Mux(x.nonzero & ~far, placed | over.replicate(width), 0))
        size1 = pipe(m, size, "size1")
        sign1 = pipe(m, x.sign, "sign1")
        key = ((Cat(size1, Const(0, 1)) ^ sign1.replicate(KEY_BITS)) + sign1)[:KEY_BITS]
        m.d.comb += self.o.eq(pipe(m, key, "key"))
        return m
