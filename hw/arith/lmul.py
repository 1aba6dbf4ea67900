"""L-Mul: a product made of one integer addition."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from numpy.typing import ArrayLike

from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import Ints
from setun.firmware.numerics.lmul import fraction_bits, lmul, offsets
from setun.hw.arith.binary import Binary
from setun.hw.arith.bits import Fields, pipe


class LMul(Binary):
    """o = a * b by `setun.firmware.numerics.lmul`, one product per cycle, unrounded, no multiplier.

    Parameters
    ----------
    fmt
        Number format of both operands and the result.
    segments
        Top bits of each mantissa that choose the offset; 0 for the paper's one.

    Members
    -------
    a, b : In(fmt.width)
        Factors. A zero exponent field is zero whatever the other bits.
    o : Out(fmt.width)
        Sum of both bit patterns, minus the bias, plus the offset; flushed to zero below the
        smallest number and saturated above the largest; zeros are all-zero bits.

    Latency: 2 cycles (add, choose an offset | add it, flush, saturate), as `FloatMultiplier`.
    Throughput: 1 per cycle. (L-Mul, arXiv 2410.00907, section 2.2.)
    """

    latency = 2

    def __init__(self, fmt: Format, segments: int = 0) -> None:
        self.segments = segments
        super().__init__(fmt)

    def model(self, a: ArrayLike, b: ArrayLike) -> Ints:
        """Bit patterns of the products of two arrays of bit patterns."""
        fmt = self.fmt
        product = lmul(fmt.from_bits(a), fmt.from_bits(b), fmt.mantissa, self.segments)
        return fmt.to_bits(np.clip(product, -fmt.largest, fmt.largest)).astype(np.int64)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fmt = self.fmt
        size = fmt.width - 1
        a, b = Fields(fmt, self.a), Fields(fmt, self.b)
        total1 = pipe(m, self.a[:size] + self.b[:size], "total1")
        sign1 = pipe(m, a.sign ^ b.sign, "sign1")
        zero1 = pipe(m, ~(a.nonzero & b.nonzero), "zero1")

        tops = (x.mantissa[fmt.mantissa - min(self.segments, fmt.mantissa) :] for x in (b, a))
        table = offsets(fmt.mantissa, self.segments)
        offset1 = chosen(m, table.ravel(), Cat(*tops))
        if self.segments:
            offset1 = pipe(m, offset1, "offset1")

        # Bias and offset touch the upper bits only, and never the same ones.
        after = fraction_bits(fmt.mantissa, self.segments)
        low = fmt.mantissa - after
        upper = Signal(signed(size - low + 2))
        space = Const(0, after - len(offset1))
        step = Cat(offset1, space, Const(-fmt.bias, signed(fmt.exponent + 1))).as_signed()
        m.d.comb += upper.eq(Cat(total1[low:], Const(0, 1)).as_signed() + step)
        exponent = upper[after:]
        below = upper[-1]
        above = ~below & upper[-2]
        body = Cat(total1[:low], upper[: size - low]) | above.replicate(size)
        flush = zero1 | below | ~exponent.any()
        m.d.comb += self.o.eq(pipe(m, Mux(flush, 0, Cat(body, sign1)), "result"))
        return m


def chosen(m: Module, table: Ints, index: Value) -> Value:
    """The entry of `table` at `index`, combinational: LUTs for each bit of its largest one."""
    if len(table) == 1:
        return Const(int(table[0]))
    entry = Signal(int(table.max()).bit_length(), name="offset")
    with m.Switch(index):
        for k, value in enumerate(table):
            with m.Case(k):
                m.d.comb += entry.eq(int(value))
    return entry
