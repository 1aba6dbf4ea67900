"""Squares of whole numbers, and of floats on a common exponent, as terms of sums of squares.

Each of them exact, on a multiplier, or by L-Mul (arXiv 2410.00907): 2**e * (1 + x) becomes
2**(2e) * (1 + 2x + 2**-4), or plus the offset that the top bits of x choose. A carry of the sum
goes on into the exponent, and what is below one is cut; up to 17/16 of the square of the next power
of two.
"""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.numerics import lmul
from setun.firmware.numerics.arithmetic import SQUARE_BITS
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import Ints
from setun.firmware.numerics.options import Numerics
from setun.hw.arith.bits import (
    Fields,
    bits_shape,
    exponent_field,
    pipe,
    shift_right,
    significand,
)
from setun.hw.arith.lmul import chosen

MANTISSA = 52  # of `lmul.square`: its offsets are those of wide formats


class BlockSquare(wiring.Component):
    """o = A * A with A = floor(|a| * 2**(15 - (exponent - bias))), one per cycle.

    Parameters
    ----------
    fmt
        Number format of the elements.

    Members
    -------
    a : In(fmt.width)
        Element. A zero exponent field is zero whatever the other bits.
    exponent : In(fmt.exponent)
        Largest exponent field of the vector; an element beyond it gives 0.
    o : Out(32)
        Square of the 16-bit magnitude, in units of 4**(exponent - bias - 15).

    Latency: 2 cycles (align | multiply). Throughput: 1 per cycle. One multiplier.
    """

    latency = 2

    def __init__(self, fmt: Format) -> None:
        self.fmt = fmt
        super().__init__(
            {
                "a": In(bits_shape(fmt)),
                "exponent": In(fmt.exponent),
                "o": Out(2 * SQUARE_BITS),
            }
        )

    def model(self, a: ArrayLike, exponent: ArrayLike) -> Ints:
        """Squares of arrays of bit patterns and block exponents."""
        fmt = self.fmt
        size = _sizes(fmt, a, exponent)
        return size * size

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fmt = self.fmt
        x = Fields(fmt, self.a)
        distance = Signal(signed(fmt.exponent + 1))
        m.d.comb += distance.eq(self.exponent - x.exponent)
        amount = (SQUARE_BITS - 1).bit_length()
        aligned = Cat(Const(0, SQUARE_BITS - 1 - fmt.mantissa), x.significand)
        placed = shift_right(m, aligned, distance[:amount], name="placed")
        out = distance[amount:].any() | ~x.nonzero
        size = pipe(m, Mux(out, 0, placed), "size")
        m.d.comb += self.o.eq(pipe(m, size * size, "result"))
        return m


class BlockLMulSquare(wiring.Component):
    """`BlockSquare` by L-Mul, one per cycle: additions and shifts.

    Parameters
    ----------
    fmt
        Number format of the elements.
    segments
        As those of `LMul`.

    Members
    -------
    a : In(fmt.width), exponent : In(fmt.exponent)
        As those of `BlockSquare`.
    o : Out(33)
        L-Mul of the 16-bit magnitude with itself, `setun.firmware.numerics.lmul.square`, in units
        of 4**(exponent - bias - 15); less than 17 * 2**28.

    Latency: 2 cycles (align, add | shift), as `BlockSquare`. Throughput: 1 per cycle.
    """

    latency = 2

    def __init__(self, fmt: Format, segments: int = 0) -> None:
        self.fmt, self.segments = fmt, segments
        super().__init__(
            {
                "a": In(bits_shape(fmt)),
                "exponent": In(fmt.exponent),
                "o": Out(2 * SQUARE_BITS + 1),
            }
        )

    def model(self, a: ArrayLike, exponent: ArrayLike) -> Ints:
        """Squares of arrays of bit patterns and block exponents."""
        size = _sizes(self.fmt, a, exponent)
        return lmul.square(size.astype(np.float64), self.segments).astype(np.int64)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fmt = self.fmt
        x = Fields(fmt, self.a)
        distance = Signal(signed(fmt.exponent + 1))
        m.d.comb += distance.eq(self.exponent - x.exponent)
        amount = (SQUARE_BITS - 1).bit_length()
        near = distance[:amount]
        # The magnitude's leading one is at bit 15 - distance: below its last bit nothing counts.
        spare = SQUARE_BITS - 1 - fmt.mantissa
        fraction = Cat(bit & (near <= spare + k) for k, bit in enumerate(x.mantissa))
        out = distance[amount:].any() | ~x.nonzero
        body = pipe(m, Mux(out, 0, _lmul_square(m, fraction, self.segments)), "body")
        places = pipe(m, Cat(Const(0, 1), near), "places")
        above = 2 * SQUARE_BITS + 1 - len(body)
        placed = shift_right(m, Cat(Const(0, above), body), places, name="placed")
        m.d.comb += self.o.eq(pipe(m, placed, "result"))
        return m


class WholeSquare(wiring.Component):
    """o = a * a of a signed whole number, one per cycle.

    Parameters
    ----------
    width
        Bits of the number, sign included.

    Members
    -------
    a : In(signed(width)), o : Out(2 * width)

    Latency: 1 cycle. Throughput: 1 per cycle. One multiplier.
    """

    latency = 1

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__({"a": In(signed(width)), "o": Out(2 * width)})

    def model(self, a: ArrayLike) -> Ints:
        """Squares of an array of numbers."""
        size = np.asarray(a).astype(np.int64)
        return size * size

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += self.o.eq(pipe(m, self.a * self.a, "square", 2 * self.width))
        return m


class WholeLMulSquare(WholeSquare):
    """L-Mul of the magnitude of a signed whole number with itself, one per cycle.

    Parameters
    ----------
    width
        Bits of the number, sign included.
    segments
        As those of `LMul`.

    Members
    -------
    a : In(signed(width))
    o : Out(2 * width)
        `setun.firmware.numerics.lmul.square` of |a|; at most 17/16 * 4**(width - 1).

    Latency: 2 cycles (magnitude, normalise | add, shift). Throughput: 1 per cycle.
    """

    latency = 2

    def __init__(self, width: int, segments: int = 0) -> None:
        self.segments = segments
        super().__init__(width)

    def model(self, a: ArrayLike) -> Ints:
        """Squares of an array of numbers."""
        size = np.abs(np.asarray(a).astype(np.float64))
        return lmul.square(size, self.segments).astype(np.int64)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        sign = self.a[-1]
        size = Signal(self.width)
        m.d.comb += size.eq((self.a ^ sign.replicate(self.width)).as_unsigned() + sign)
        value: Value = size
        zeros: list[Value] = []  # above the leading one, highest bit of their number first
        for k in reversed(range((self.width - 1).bit_length())):
            stage = Signal(self.width, name=f"normal{k}")
            empty = ~value[-(1 << k) :].any()
            m.d.comb += stage.eq(Mux(empty, value << (1 << k), value))
            zeros.append(empty)
            value = stage
        fraction = pipe(m, value[:-1], "fraction")
        places = pipe(m, Cat(Const(0, 1), *reversed(zeros)), "places")
        some = pipe(m, value[-1], "some")
        body = Mux(some, _lmul_square(m, fraction, self.segments), 0)
        # The leading one's square is at bit 2 * (width - 1) but for what the zeros move it down:
        # only behind a zero there is more than 1.0, and may be something above that bit.
        after = len(body) - 3
        whole = Cat(Const(0, 2 * (self.width - 1)), body)[after:]
        placed = shift_right(m, whole, places, name="placed")
        m.d.comb += self.o.eq(pipe(m, placed[: 2 * self.width], "result"))
        return m


def block_square(numerics: Numerics) -> BlockSquare | BlockLMulSquare:
    """The block square that a chip's numerics ask for; `BlockSquare.latency` cycles."""
    fmt = numerics.vector
    return BlockLMulSquare(fmt, numerics.segments) if numerics.lmul else BlockSquare(fmt)


def whole_square(numerics: Numerics, width: int) -> WholeSquare | WholeLMulSquare:
    """The square of whole numbers that a chip's numerics ask for."""
    return WholeLMulSquare(width, numerics.segments) if numerics.lmul else WholeSquare(width)


def _lmul_square(m: Module, fraction: Value, segments: int) -> Value:
    """L-Mul of 1.fraction with itself: 3 bits before the point, and those of sum and offset after.

    The sum has one bit less than `fraction`, the offset those of `lmul.fraction_bits`.
    """
    bits = lmul.fraction_bits(MANTISSA, segments)
    after = max(len(fraction) - 1, bits)
    total = Signal(after + 2, name="total")
    low = after - bits
    doubled = Cat(Const(0, after + 1 - len(fraction)), fraction)
    # A number of few bits has zeros below them.
    wide = Cat(Const(0, segments), fraction)
    top = wide[len(fraction) :]
    offset = chosen(m, lmul.offsets(MANTISSA, segments).diagonal(), top)
    m.d.comb += total.eq(Cat(doubled[:low], doubled[low:] + offset))
    one = Cat(total[:after], Const(1, 1), Const(0, 2))
    return Mux(total[after + 1], one << 2, Mux(total[after], one << 1, one))[: after + 3]


def _sizes(fmt: Format, a: ArrayLike, exponent: ArrayLike) -> Ints:
    """16-bit magnitudes of bit patterns below block exponents."""
    bits = np.asarray(a).astype(np.int64)
    d = np.asarray(exponent).astype(np.int64) - exponent_field(fmt, bits)
    size = significand(fmt, bits) << (SQUARE_BITS - 1 - fmt.mantissa)
    return np.where(d < 0, 0, size >> np.clip(d, 0, SQUARE_BITS))
