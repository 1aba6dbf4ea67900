"""Float adder."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from numpy.typing import ArrayLike

from setun.firmware.numerics.functions import Ints
from setun.hw.arith.binary import Binary
from setun.hw.arith.bits import Fields, leading_zeros, pack, pipe, round_up


class FloatAdder(Binary):
    """o = round(a + b), one sum per cycle.

    Parameters
    ----------
    fmt
        Number format of both operands and the result.

    Members
    -------
    a, b : In(fmt.width)
        Terms. A zero exponent field is zero whatever the other bits, so a caller subtracts by
        flipping the sign bit.
    o : Out(fmt.width)
        Sum, rounded to nearest even, flushed to zero below the smallest number and saturated
        above the largest; zeros, exact cancellation included, are all-zero bits.

    Latency: 3 cycles (order | align, add | normalise, round). Throughput: 1 per cycle.
    """

    latency = 3

    def model(self, a: ArrayLike, b: ArrayLike) -> Ints:
        """Bit patterns of the sums of two arrays of bit patterns."""
        return self.fmt.to_bits(self.fmt.from_bits(a) + self.fmt.from_bits(b)).astype(np.int64)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fmt = self.fmt
        n = fmt.mantissa
        a, b = Fields(fmt, self.a), Fields(fmt, self.b)

        swap = Signal()
        large, small = Signal(fmt.width - 1), Signal(n)
        # Both differences beside the comparison: shorter than one after it.
        ahead, behind = Signal(fmt.exponent), Signal(fmt.exponent)
        distance = Signal(fmt.exponent)
        m.d.comb += [
            swap.eq(a.magnitude < b.magnitude),
            large.eq(Mux(swap, b.magnitude, a.magnitude)),
            small.eq(Mux(swap, a.mantissa, b.mantissa)),
            ahead.eq(a.exponent - b.exponent),
            behind.eq(b.exponent - a.exponent),
            distance.eq(Mux(swap, behind, ahead)),
        ]
        # Guard, round and sticky below the significand are enough for one correct rounding.
        width = n + 3
        reach = width.bit_length() - 1
        aligned = Cat(Const(0, 2), small, Const(1, 1))
        both = a.nonzero & b.nonzero
        far = distance[reach + 1 :].any()
        coarse, fell = self._step(m, aligned, distance[reach], reach)
        # A term that is far away or zero leaves only its sticky bit, or nothing.
        shifted = pipe(m, Mux(both & ~far, coarse, 0), "shifted1")
        lost: Value = pipe(m, both & (fell | far), "lost1")
        distance1 = pipe(m, distance[:reach], "distance1")
        large1 = pipe(m, large, "large1")
        sign1 = pipe(m, Mux(swap, b.sign, a.sign), "sign1")
        subtract1 = pipe(m, a.sign ^ b.sign, "subtract1")
        zero1 = pipe(m, ~(a.nonzero | b.nonzero), "zero1")

        for k in reversed(range(reach)):
            shifted, fell = self._step(m, shifted, distance1[k], k)
            lost = lost | fell
        term = Cat(lost, shifted)
        base = Cat(Const(0, 3), large1[:n], Const(1, 1))
        # Subtract by complement; a bit below the sum carries the one in.
        operand = Cat(term, Const(0, 1)) ^ subtract1.replicate(width + 2)
        injected = Signal(width + 3)
        m.d.comb += injected.eq(Cat(Const(1, 1), base) + Cat(subtract1, operand))
        total = injected[1:]
        total2 = pipe(m, total, "total2")
        zeros2 = pipe(m, leading_zeros(m, total, name="zeros"), "zeros2")
        exponent2 = pipe(m, large1[n:], "exponent2")
        sign2 = pipe(m, sign1, "sign2")
        zero2 = pipe(m, zero1, "zero2")

        # Three or more leading zeros need terms at most one exponent apart: no bits to round.
        options = []
        for zeros in range(3):
            cut = 4 - zeros
            sticky = total2[: cut - 1].any()
            options.append(round_up(total2[cut], total2[cut - 1], sticky))
        up = Mux(total2[-1], options[0], Mux(total2[-2], options[1], total2[-3] & options[2]))
        normal = Signal(width + 2)
        m.d.comb += normal.eq(total2 << zeros2)
        exponent = Signal(signed(fmt.exponent + 2))
        m.d.comb += exponent.eq(exponent2 - zeros2)
        result = pack(
            m,
            fmt,
            zero=zero2 | ~normal[-1],
            sign=sign2,
            exponent=exponent,
            mantissa=normal[4 : 4 + n],
            up=up,
            step=Const(1, 1),
        )
        m.d.comb += self.o.eq(pipe(m, result, "result"))
        return m

    @staticmethod
    def _step(m: Module, value: Value, move: Value, k: int) -> tuple[Value, Value]:
        """(value shifted right by 2**k if `move`, whether ones fell off)."""
        stage, fell = Signal(len(value), name=f"shifted_{k}"), Signal(name=f"fell_{k}")
        m.d.comb += [
            stage.eq(Mux(move, value >> (1 << k), value)),
            fell.eq(move & value[: 1 << k].any()),
        ]
        return stage, fell
