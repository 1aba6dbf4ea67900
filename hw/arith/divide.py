"""Exact int8 codes by division: what chips without multipliers make codes with."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import Ints
from setun.hw.arith.bits import Fields, bits_shape, exponent_field, pipe, significand
from setun.hw.arith.quantise import code_of_quotient

DIGITS = 9  # of a quotient up to 508
EACH = 3  # digits a cycle


class CodeDivider(wiring.Component):
    """o = sign(a) * floor(127 * |a| / largest + 1/2), exactly, one code per cycle.

    Parameters
    ----------
    fmt
        Number format of element and maximum.

    Members
    -------
    a : In(fmt.width)
        Element of the vector, |a| <= largest.
    largest : In(fmt.width)
        Largest magnitude of the vector, its sign is ignored; may change with every element.
    o : Out(signed(8))
        Code in -127..127; 0 when the maximum is zero. An element above the maximum, which no
        vector has, gives 0 if its exponent is larger, else an unspecified code.

    Latency: 6 cycles (times 127 | three of three digits each | align | round, sign). Throughput:
    1 per cycle. No multiplier, no block RAM.
    """

    latency = 3 + DIGITS // EACH

    def __init__(self, fmt: Format) -> None:
        self.fmt = fmt
        w = bits_shape(fmt)
        super().__init__({"a": In(w), "largest": In(w), "o": Out(signed(8))})

    def model(self, a: ArrayLike, largest: ArrayLike) -> Ints:
        """Codes of arrays of bit patterns of elements and maxima."""
        fmt = self.fmt
        bits, top = (np.asarray(v).astype(np.int64) for v in (a, largest))
        d = exponent_field(fmt, top) - exponent_field(fmt, bits)
        size = 254 * significand(fmt, bits) // np.maximum(significand(fmt, top), 1)
        size = ((size >> np.clip(d, 0, 9)) + 1) >> 1
        size = np.where(d < 0, 0, size)
        return np.where((bits >> (fmt.width - 1)) & 1 == 1, -size, size)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fmt = self.fmt
        x, top = Fields(fmt, self.a), Fields(fmt, self.largest)
        # 254 * x is what is divided: its lowest bit is 0, and its highest are below the divisor.
        product = Signal(fmt.mantissa + 8)
        m.d.comb += product.eq(Cat(Const(0, 7), x.significand) - x.significand)
        dividend: Value = pipe(m, Cat(Const(0, 1), product), "dividend1")
        divisor: Value = pipe(m, top.significand, "divisor1")
        distance = Signal(signed(fmt.exponent + 1))
        m.d.comb += distance.eq(top.exponent - x.exponent)
        flags: Value = pipe(m, Cat(distance[:4], distance[4:].any() | ~x.nonzero, x.sign), "flags1")

        # Without restoring: the remainder is in [-divisor, divisor), and a digit is 1 exactly if
        # it is not negative, for it is then what restoring would have left.
        rest: Value = Cat(dividend[DIGITS:], Const(0, 2))
        dividend, quotient = dividend[:DIGITS], Const(0, 0)
        for stage in range(DIGITS // EACH):
            for _ in range(EACH):
                following = Signal(fmt.mantissa + 3)
                minus = ~rest[-1]
                term = Cat(divisor, Const(0, 1)) ^ minus.replicate(fmt.mantissa + 2)
                m.d.comb += following.eq(Cat(minus, dividend[-1], rest[:-1]) + Cat(minus, term))
                rest, dividend = following[1:], dividend[:-1]
                quotient = Cat(~rest[-1], quotient)
            name = f"{stage + 2}"
            rest = pipe(m, rest, f"rest{name}")
            dividend = pipe(m, dividend, f"dividend{name}")
            divisor = pipe(m, divisor, f"divisor{name}")
            quotient = pipe(m, quotient, f"quotient{name}")
            flags = pipe(m, flags, f"flags{name}")
        m.d.comb += self.o.eq(code_of_quotient(m, quotient, flags[:4], flags[4], flags[5]))
        return m
