"""Small floats (1, E, M): the number format of everything outside the ternary array.

No subnormals (they flush to zero), no infinity and no NaN (values saturate), one zero.
An exponent field of 0 means zero; every other field, all ones included, is a normal number.
Results are rounded once, to nearest, ties to even, as if the exponent were unbounded; then
flushed or saturated. float64 holds every intermediate of one operation exactly enough: rounding
first to 53 bits and then to M+1 is harmless while 53 >= 2*(M+1)+2 (Figueroa, 1995).
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from setun.firmware.errors import SetunError

Values = NDArray[np.float64]

_EXPONENT = np.int64(0x7FF << 52)
_largest = np.maximum.reduce


@dataclass(frozen=True)
class Format:
    """Small float with one sign bit, `exponent` bits and `mantissa` stored bits.

    Parameters
    ----------
    exponent
        Bits of the exponent field, 4 to 8; the bias is 2**(exponent-1) - 1.
    mantissa
        Stored bits of the significand, 2 to 24; the leading one is implied.
    """

    exponent: int = 8
    mantissa: int = 9

    def __post_init__(self) -> None:
        if not 4 <= self.exponent <= 8:
            raise SetunError("exponent", "must have 4 to 8 bits", self.exponent)
        if not 2 <= self.mantissa <= 24:
            raise SetunError("mantissa", "must have 2 to 24 bits", self.mantissa)

    @property
    def width(self) -> int:
        """Bits of one number, sign included."""
        return 1 + self.exponent + self.mantissa

    @property
    def bias(self) -> int:
        """Exponent field of 1.0."""
        return (1 << (self.exponent - 1)) - 1

    @cached_property
    def largest(self) -> float:
        """Largest finite magnitude; what saturation returns."""
        top = (1 << self.exponent) - 1 - self.bias
        return math.ldexp(2.0 - math.ldexp(1.0, -self.mantissa), top)

    @cached_property
    def smallest(self) -> float:
        """Smallest magnitude that is not flushed to zero."""
        return math.ldexp(1.0, 1 - self.bias)

    def round(self, x: ArrayLike) -> Values:
        """Nearest representable values of finite `x` (any shape), as float64."""
        x = np.ascontiguousarray(x, np.float64)
        power = x.view(np.int64) & _EXPONENT
        lowest, span, magic = self._inside
        if not x.size or _largest((power - lowest).view(np.uint64), axis=None) > span:
            return self._round_ends(x)
        # 1.5 * 2**(52-M) units of the last kept bit, added and taken away, drop the bits below.
        unit = power.view(np.float64)
        unit *= magic
        y: Values = x + unit
        y -= unit
        return y

    @cached_property
    def _inside(self) -> tuple[np.int64, int, float]:
        """Exponent fields of float64 that can neither flush nor saturate (first, last - first),
        and the factor that makes a power of two drop the bits that do not fit behind it."""
        first, last = 1024 - self.bias, 1022 + (1 << self.exponent) - 1 - self.bias
        return np.int64(first << 52), (last - first) << 52, math.ldexp(1.5, 52 - self.mantissa)

    def _round_ends(self, x: Values) -> Values:
        """`round` for values that may flush, saturate or be zero."""
        bits = x.view(np.int64)
        drop = 52 - self.mantissa
        bits = bits + (((bits >> drop) & 1) + ((1 << (drop - 1)) - 1))
        bits &= -1 << drop
        y = bits.view(np.float64)
        size = np.abs(y)
        y *= size >= self.smallest
        np.clip(y, -self.largest, self.largest, out=y)
        y += 0.0  # one zero: -0.0 becomes +0.0
        return y

    def round1(self, x: float) -> float:
        """`round` of one Python float; several times faster than an array of one."""
        if x == 0.0:
            return 0.0
        significand, exponent = math.frexp(x)
        scaled = round(math.ldexp(significand, self.mantissa + 1))
        y = math.ldexp(scaled, exponent - self.mantissa - 1)
        if abs(y) < self.smallest:
            return 0.0
        return math.copysign(min(abs(y), self.largest), y)

    def to_bits(self, x: ArrayLike) -> NDArray[np.uint32]:
        """Bit patterns (sign, exponent, mantissa from the top) of representable values `x`."""
        y = np.ascontiguousarray(self.round(x))
        raw = y.view(np.uint64)
        field = (raw >> np.uint64(52 - self.mantissa)) & np.uint64((1 << (11 + self.mantissa)) - 1)
        rebias = np.int64(self.bias - 1023) << np.int64(self.mantissa)
        packed = np.where(y == 0.0, 0, field.astype(np.int64) + rebias)
        sign = np.where(y < 0.0, 1 << (self.width - 1), 0)
        return (packed | sign).astype(np.uint32)

    def from_bits(self, bits: ArrayLike) -> Values:
        """Values of bit patterns; a zero exponent field is zero whatever the other bits."""
        b = np.asarray(bits).astype(np.int64)
        field = (b >> self.mantissa) & ((1 << self.exponent) - 1)
        significand = (b & ((1 << self.mantissa) - 1)) + (1 << self.mantissa)
        y = np.ldexp(significand.astype(np.float64), field - self.bias - self.mantissa)
        y = np.where(field == 0, 0.0, y)
        return np.where(((b >> (self.width - 1)) & 1) == 1, -y, y) + 0.0
