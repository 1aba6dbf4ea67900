"""Float multiplier."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from numpy.typing import ArrayLike

from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import Ints
from setun.hw.arith.binary import Binary
from setun.hw.arith.bits import Fields, pack, pipe, round_up, shift_and_add


class FloatMultiplier(Binary):
    """o = round(a * b), one product per cycle.

    Parameters
    ----------
    fmt
        Number format of both operands and the result.
    adders
        Significands are multiplied by additions instead of a multiplier; the result is the same.

    Members
    -------
    a, b : In(fmt.width)
        Factors. A zero exponent field is zero whatever the other bits.
    o : Out(fmt.width)
        Product, rounded to nearest even, flushed to zero below the smallest number and
        saturated above the largest; zeros are all-zero bits.

    Latency: 2 cycles (multiply | normalise, round, pack). Throughput: 1 per cycle.
    """

    latency = 2

    def __init__(self, fmt: Format, *, adders: bool = False) -> None:
        self.adders = adders
        super().__init__(fmt)

    def model(self, a: ArrayLike, b: ArrayLike) -> Ints:
        """Bit patterns of the products of two arrays of bit patterns."""
        product = self.fmt.from_bits(a) * self.fmt.from_bits(b)
        return self.fmt.to_bits(product).astype(np.int64)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fmt = self.fmt
        n = fmt.mantissa
        a, b = Fields(fmt, self.a), Fields(fmt, self.b)

        # ea + eb - bias as one adder: the low operand bit injects the +1 of -bias = 1 - 2**(E-1).
        raw = Signal(fmt.exponent + 2)
        m.d.comb += raw.eq(Cat(Const(1, 1), a.exponent) + Cat(Const(1, 1), b.exponent))
        total = raw[1:]
        top = Signal(signed(3))
        m.d.comb += top.eq(total[fmt.exponent - 1 :] - 1)
        exponent = Cat(total[: fmt.exponent - 1], top).as_signed()

        if self.adders:
            exact = shift_and_add(m, a.significand, b.significand, name="partial")
        else:
            exact = a.significand * b.significand
        product = pipe(m, exact, "product")
        exponent1 = pipe(m, exponent, "exponent1")
        sign1 = pipe(m, a.sign ^ b.sign, "sign1")
        zero1 = pipe(m, ~(a.nonzero & b.nonzero), "zero1")

        high = product[-1]
        mantissa = Mux(high, product[n + 1 : 2 * n + 1], product[n : 2 * n])
        guard = Mux(high, product[n], product[n - 1])
        sticky = product[: n - 1].any() | (high & product[n - 1])
        up = round_up(mantissa[0], guard, sticky)
        result = pack(
            m, fmt, zero=zero1, sign=sign1, exponent=exponent1, mantissa=mantissa, up=up, step=high
        )
        m.d.comb += self.o.eq(pipe(m, result, "result"))
        return m
