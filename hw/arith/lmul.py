"""L-Mul: a product made of one integer addition."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from numpy.typing import ArrayLike

from setun.firmware.numerics.functions import Ints
from setun.firmware.numerics.lmul import lmul, offset_bits
from setun.hw.arith.binary import Binary
from setun.hw.arith.bits import Fields, pipe


class LMul(Binary):
    """o = a * b by `setun.firmware.numerics.lmul`, one product per cycle, unrounded, no multiplier.

    Parameters
    ----------
    fmt
        Number format of both operands and the result.

    Members
    -------
    a, b : In(fmt.width)
        Factors. A zero exponent field is zero whatever the other bits.
    o : Out(fmt.width)
        Sum of both bit patterns, minus the bias, plus 2**-l; flushed to zero below the smallest
        number and saturated above the largest; zeros are all-zero bits.

    Latency: 2 cycles (add | offset, flush, saturate), as `FloatMultiplier`. Throughput: 1 per
    cycle. (L-Mul, arXiv 2410.00907, section 2.2.)
    """

    latency = 2

    def model(self, a: ArrayLike, b: ArrayLike) -> Ints:
        """Bit patterns of the products of two arrays of bit patterns."""
        fmt = self.fmt
        product = lmul(fmt.from_bits(a), fmt.from_bits(b), fmt.mantissa)
        return fmt.to_bits(np.clip(product, -fmt.largest, fmt.largest)).astype(np.int64)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fmt = self.fmt
        size = fmt.width - 1
        a, b = Fields(fmt, self.a), Fields(fmt, self.b)
        total1 = pipe(m, self.a[:size] + self.b[:size], "total1")
        sign1 = pipe(m, a.sign ^ b.sign, "sign1")
        zero1 = pipe(m, ~(a.nonzero & b.nonzero), "zero1")

        # Bias and offset touch the upper bits only.
        low = fmt.mantissa - offset_bits(fmt.mantissa)
        upper = Signal(signed(size - low + 2))
        step = (1 << (fmt.mantissa - offset_bits(fmt.mantissa))) - (fmt.bias << fmt.mantissa)
        m.d.comb += upper.eq(Cat(total1[low:], Const(0, 1)).as_signed() + (step >> low))
        exponent = upper[fmt.mantissa - low :]
        below = upper[-1]
        above = ~below & upper[-2]
        body = Cat(total1[:low], upper[: size - low]) | above.replicate(size)
        flush = zero1 | below | ~exponent.any()
        m.d.comb += self.o.eq(pipe(m, Mux(flush, 0, Cat(body, sign1)), "result"))
        return m
