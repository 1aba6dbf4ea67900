"""Exact int8 codes: the reciprocal of a vector's absolute maximum, and one product per code."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import Ints, code_bits, code_reciprocals
from setun.hw.arith.bits import (
    Fields,
    bits_shape,
    exponent_field,
    pipe,
    rom,
    shift_right,
    significand,
)


def reciprocal_bits(fmt: Format) -> int:
    """Width of the entries of `code_reciprocals`: 19 for the default format."""
    return 7 + code_bits(fmt) - fmt.mantissa


class CodeReciprocal(wiring.Component):
    """What `CodeQuantiser` needs of an absolute maximum: a table look-up.

    Parameters
    ----------
    fmt
        Number format of the maximum.

    Members
    -------
    a : In(fmt.width)
        Largest magnitude of a vector; its sign is ignored.
    reciprocal : Out(reciprocal_bits(fmt))
        127 * 2**K / significand, rounded up; of no meaning for a maximum of zero.
    exponent : Out(fmt.exponent)
        Exponent field of the maximum; 0 for zero, whatever the other bits.

    Latency: 2 cycles (table | register). Throughput: 1 per cycle. One block RAM (2**M words).
    """

    latency = 2

    def __init__(self, fmt: Format) -> None:
        self.fmt = fmt
        super().__init__(
            {
                "a": In(bits_shape(fmt)),
                "reciprocal": Out(reciprocal_bits(fmt)),
                "exponent": Out(fmt.exponent),
            }
        )

    def model(self, a: ArrayLike) -> tuple[Ints, Ints]:
        """(reciprocal, exponent) of an array of bit patterns."""
        bits = np.asarray(a).astype(np.int64)
        index = bits & ((1 << self.fmt.mantissa) - 1)
        return code_reciprocals(self.fmt)[index], exponent_field(self.fmt, bits)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fmt = self.fmt
        x = Fields(fmt, self.a)
        word = rom(m, code_reciprocals(fmt), reciprocal_bits(fmt), x.mantissa, name="reciprocals")
        exponent1 = pipe(m, x.exponent, "exponent1")
        m.d.comb += [
            self.reciprocal.eq(pipe(m, word, "word2")),
            self.exponent.eq(pipe(m, exponent1, "exponent2")),
        ]
        return m


class CodeQuantiser(wiring.Component):
    """o = sign(a) * floor(127 * |a| / max + 1/2), exactly, one code per cycle.

    Parameters
    ----------
    fmt
        Number format of the elements.

    Members
    -------
    a : In(fmt.width)
        Element of the vector, |a| <= max.
    reciprocal, exponent : In
        From `CodeReciprocal` of the vector's maximum; may change with every element.
    o : Out(signed(8))
        Code in -127..127; 0 when the maximum is zero. An element above the maximum, which no
        vector has, gives 0 if its exponent is larger, else an unspecified code.

    Latency: 3 cycles (multiply | align | round, sign). Throughput: 1 per cycle.
    """

    latency = 3

    def __init__(self, fmt: Format) -> None:
        self.fmt = fmt
        super().__init__(
            {
                "a": In(bits_shape(fmt)),
                "reciprocal": In(reciprocal_bits(fmt)),
                "exponent": In(fmt.exponent),
                "o": Out(signed(8)),
            }
        )

    def model(self, a: ArrayLike, reciprocal: ArrayLike, exponent: ArrayLike) -> Ints:
        """Codes of arrays of bit patterns, reciprocals and exponent fields."""
        fmt = self.fmt
        bits = np.asarray(a).astype(np.int64)
        d = np.asarray(exponent).astype(np.int64) - exponent_field(fmt, bits)
        product = significand(fmt, bits) * np.asarray(reciprocal).astype(np.int64)
        size = ((product >> (code_bits(fmt) - 1 + np.clip(d, 0, 8))) + 1) >> 1
        size = np.where((d < 0) | (d > 8), 0, size)
        return np.where((bits >> (fmt.width - 1)) & 1 == 1, -size, size)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fmt = self.fmt
        x = Fields(fmt, self.a)
        # A multiplier block takes 18 bits; the reciprocal's bits above them are added after it.
        low = min(18, reciprocal_bits(fmt))
        product1 = pipe(m, x.significand * self.reciprocal[:low], "product1")
        extra = [
            pipe(m, Mux(bit, x.significand, 0), f"extra1_{i}")
            for i, bit in enumerate(self.reciprocal[low:])
        ]
        distance = Signal(signed(fmt.exponent + 1))
        m.d.comb += distance.eq(self.exponent - x.exponent)
        distance1 = pipe(m, distance[:4], "distance1")
        far1 = pipe(m, distance[4:].any() | ~x.nonzero, "far1")
        sign1 = pipe(m, x.sign, "sign1")

        upper: Value = product1[low:]
        for i, term in enumerate(extra):
            upper = upper + (term << i)
        # Up to 508 before the exponents are aligned, 254 after.
        cut = Cat(product1[:low], upper)[code_bits(fmt) - 1 :][:9]
        m.d.comb += self.o.eq(code_of_quotient(m, cut, distance1, far1, sign1))
        return m


def code_of_quotient(
    m: Module, quotient: Value, distance: Value, far: Value, sign: Value
) -> Signal:
    """A code of floor(254 * significand / maximum's): two cycles (align | round, sign).

    Parameters
    ----------
    quotient
        9 bits, up to 508.
    distance
        Exponent of the maximum less that of the element, 4 bits; without meaning if `far`.
    far
        The code is 0.
    """
    placed = shift_right(m, quotient, distance, name="placed")
    twice2 = pipe(m, Mux(far, 0, placed[:8]), "twice2")
    sign2 = pipe(m, sign, "sign2")
    # (twice + 1) >> 1 and its negation, each one addition of a bit to the upper seven.
    rounded = Cat(twice2[1:], Const(0, 1)) ^ sign2.replicate(8)
    return pipe(m, (rounded + (twice2[0] ^ sign2))[:8], "result")
