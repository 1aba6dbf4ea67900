"""Codes of `activation = "fp8"`: made of a vector's numbers, and taken apart for the array."""

from functools import reduce
from operator import or_
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import Ints
from setun.firmware.numerics.options import CODE, CODE_BITS, CODE_FRACTION
from setun.hw.arith.binary import Binary
from setun.hw.arith.bits import Fields, bits_shape, exponent_field, pack, pipe, round_up

TOP = CODE.bias  # exponent field of the codes in [1, 2); as many exponents below are not flushed


class Code8(wiring.Component):
    """o = a / 2**e rounded to `CODE`, where 2**e is the power of two of a vector's maximum.

    One code per cycle: a difference of exponents and a rounding of the mantissa, no product.

    Parameters
    ----------
    fmt
        Number format of the elements.

    Members
    -------
    a : In(fmt.width)
        Element of the vector, |a| <= max. A zero exponent field is zero whatever the other bits.
    exponent : In(fmt.exponent)
        Exponent field of the vector's maximum, 0 for zero; may change with every element.
    o : Out(CODE.width)
        Code of magnitude up to 2, rounded to nearest even and flushed below 2**-14; zeros are
        all-zero bits. An element whose exponent is above the maximum's gives 0.

    Latency: 2 cycles (distance | round, flush). Throughput: 1 per cycle.
    """

    latency = 2

    def __init__(self, fmt: Format) -> None:
        self.fmt = fmt
        super().__init__(
            {"a": In(bits_shape(fmt)), "exponent": In(fmt.exponent), "o": Out(CODE.width)}
        )

    def model(self, a: ArrayLike, exponent: ArrayLike) -> Ints:
        """Bit patterns of the codes of arrays of bit patterns and maxima's exponent fields."""
        bits = np.asarray(a).astype(np.int64)
        top = np.asarray(exponent).astype(np.int64)
        codes = np.ldexp(self.fmt.from_bits(bits), self.fmt.bias - top)
        inside = exponent_field(self.fmt, bits) <= top
        return CODE.to_bits(np.where(inside, codes, 0.0)).astype(np.int64)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        n, kept = self.fmt.mantissa, CODE.mantissa
        x = Fields(self.fmt, self.a)
        distance = Signal(signed(self.fmt.exponent + 1))
        m.d.comb += distance.eq(self.exponent - x.exponent)
        near = TOP.bit_length()
        assert TOP == (1 << near) - 1
        mantissa1 = pipe(m, x.mantissa, "mantissa1")
        field1 = pipe(m, ~distance[:near], "field1")  # TOP - distance
        zero1 = pipe(m, distance[near:].any() | ~x.nonzero, "zero1")
        sign1 = pipe(m, x.sign, "sign1")

        up: Value = Const(0, 1)
        if n > kept:
            rest = mantissa1[: n - kept]
            up = round_up(mantissa1[n - kept], rest[-1], rest[:-1].any())
        # A mantissa that overflows is one of zero with the next exponent.
        body = Signal(CODE.width - 1)
        m.d.comb += body.eq(Cat(mantissa1[n - kept :], field1) + up)
        flush = zero1 | ~body[kept:].any()
        m.d.comb += self.o.eq(pipe(m, Mux(flush, 0, Cat(body, sign1)), "result"))
        return m


def whole(m: Module, code: Value, name: str) -> Value:
    """A code as a signed whole number in units of 2**-CODE_FRACTION; combinational.

    Parameters
    ----------
    code
        `CODE.width` bits, magnitude at most 2: what `Code8` gives.

    Returns
    -------
    Value
        `CODE_BITS` bits, signed, magnitude at most 2**(CODE_FRACTION + 1).
    """
    x = Fields(CODE, code)
    # The smallest code's last bit is worth one unit.
    assert CODE_FRACTION == CODE.bias - 1 + CODE.mantissa
    powers = Cat(x.exponent == k for k in range(1, CODE.bias + 2))
    digits = [*x.mantissa, Const(1, 1)]
    size = Signal(CODE_BITS - 1, name=f"{name}_size")
    m.d.comb += size.eq(reduce(or_, (Mux(digit, powers, 0) << k for k, digit in enumerate(digits))))
    value = Signal(signed(CODE_BITS), name=name)
    m.d.comb += value.eq((Cat(size, Const(0, 1)) ^ x.sign.replicate(CODE_BITS)) + x.sign)
    return value


class TimesPower(Binary):
    """o = round(a * p) where p is the power of two in `b`: an addition of exponents.

    Parameters
    ----------
    fmt
        Number format of the operands and the result.

    Members
    -------
    a, b : In(fmt.width)
        Factor, and a number of which only the exponent counts. A zero exponent field is zero
        whatever the other bits.
    o : Out(fmt.width)
        Product, flushed to zero below the smallest number and saturated above the largest; zeros
        are all-zero bits.

    Latency: 2 cycles (add | flush, saturate), as `FloatMultiplier`. Throughput: 1 per cycle.
    """

    latency = 2

    def model(self, a: ArrayLike, b: ArrayLike) -> Ints:
        """Bit patterns of the products of two arrays of bit patterns."""
        fmt = self.fmt
        field = exponent_field(fmt, np.asarray(b).astype(np.int64))
        power = np.where(field == 0, 0.0, np.ldexp(1.0, field - fmt.bias))
        return fmt.to_bits(fmt.from_bits(a) * power).astype(np.int64)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fmt = self.fmt
        a, b = Fields(fmt, self.a), Fields(fmt, self.b)
        exponent = Signal(signed(fmt.exponent + 2))
        m.d.comb += exponent.eq(a.exponent + b.exponent - fmt.bias)
        result = pack(
            m,
            fmt,
            zero=pipe(m, ~(a.nonzero & b.nonzero), "zero1"),
            sign=pipe(m, a.sign, "sign1"),
            exponent=pipe(m, exponent, "exponent1"),
            mantissa=pipe(m, a.mantissa, "mantissa1"),
            up=Const(0, 1),
        )
        m.d.comb += self.o.eq(pipe(m, result, "result"))
        return m
