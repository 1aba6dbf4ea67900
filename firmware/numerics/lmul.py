"""L-Mul: products of small floats as one integer addition (Luo and Sun, arXiv 2410.00907).

The paper writes (1 + x_m + y_m + 2**-l) * 2**(x_e + y_e) and computes it by adding the bit
patterns: a carry out of the mantissas goes on into the exponents, as Mitchell's logarithmic product
does. Here as there the addition is the definition. Where x_m + y_m + 2**-l reaches 1 it gives
2 * (x_m + y_m + 2**-l), which is closer to the product than the formula's value; `formula` is that
one, for comparison. Over 10-bit significands the addition's mean error is +0.4 %, the formula's
-6.4 %, which compounds through a model.

One offset for all mantissas is right on the average of both, and off by a few per cent on that of
one: where a factor is a whole vector's, or known beforehand, that is a bias. With `segments` above
0 the top bits of both mantissas choose the offset, see `offsets`.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]
Ints = NDArray[np.int64]

_FRACTION = 52  # mantissa bits of float64
_ONE = 1023 << _FRACTION
MOST_SEGMENTS = 4
"""Top bits of each mantissa that choose an offset, at most."""
MEAN_BITS = 9
"""Mantissas are counted with so many bits in an offset's mean, fewer if they have fewer."""


def offset_bits(mantissa: int) -> int:
    """l(m) of the paper: the offset is 2**-l of a significand with m mantissa bits."""
    return mantissa if mantissa <= 3 else 3 if mantissa == 4 else 4


def fraction_bits(mantissa: int, segments: int) -> int:
    """Bits behind the point of the offsets: three more than choose them, or the paper's l(m)."""
    return min(segments + 3, mantissa) if segments else offset_bits(mantissa)


@lru_cache(maxsize=32)
def offsets(mantissa: int, segments: int) -> Ints:
    """Offsets by the top bits of both mantissas, in units of 2**-`fraction_bits`: [n, n].

    n is 2**min(segments, mantissa); 1 for no segments, whose offset is the paper's. Each is the
    mean, over all pairs of mantissas x, y of its cell, of what x + y lacks in the addition: x * y
    where the product 1 + x + y + x * y is below 2, and else, a carry being worth half in the next
    power of two, (1 - x) * (1 - y) / 2. To nearest, halves up. Whole numbers throughout, so it is
    the same on every machine.
    """
    if not segments:
        return np.ones((1, 1), np.int64)
    kept, bits = min(segments, mantissa), min(mantissa, MEAN_BITS)
    one, n = 1 << bits, 1 << kept
    x = np.arange(one)
    product = np.multiply.outer(x, x)
    small = (one + x[:, None]) * (one + x) < 2 * one * one
    lacks = np.where(small, 2 * product, np.multiply.outer(one - x, one - x))  # in 1 / (2 one**2)
    cells = lacks.reshape(n, one // n, n, one // n).sum((1, 3)) << fraction_bits(mantissa, segments)
    whole = 2 * one * one * (one // n) ** 2
    return np.asarray((2 * cells + whole) // (2 * whole))


@lru_cache(maxsize=32)
def _offset_words(mantissa: int, segments: int) -> Ints:
    """`offsets` as float64 bit patterns have them, with the bias taken off."""
    return (offsets(mantissa, segments) << (_FRACTION - fraction_bits(mantissa, segments))) - _ONE


def lmul(a: ArrayLike, b: ArrayLike, mantissa: int, segments: int = 0) -> Values:
    """L-Mul of numbers with `mantissa` stored bits, broadcast; exact, neither flushed nor clipped.

    `segments` is how many top bits of each mantissa choose the offset, none for the paper's. Zero
    times anything is zero.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    p, q = _bits(np.abs(x)), _bits(np.abs(y))
    words, kept = _offset_words(mantissa, segments), min(segments, mantissa)
    top = (1 << kept) - 1, _FRACTION - kept
    offset = words[p >> top[1] & top[0], q >> top[1] & top[0]] if kept else words[0, 0]
    total = np.asarray(p + offset + q)  # in this order no sum overflows
    size = np.where((x == 0.0) | (y == 0.0), 0.0, total.view(np.float64))
    return np.where((x < 0.0) != (y < 0.0), -size, size)


def _bits(x: Values) -> Ints:
    return np.asarray(x).view(np.int64)  # of any shape, () included


def formula(a: ArrayLike, b: ArrayLike, mantissa: int) -> Values:
    """(1 + x_m + y_m + 2**-l) * 2**(x_e + y_e) as the paper writes it, not rounded."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    x_m, x_e = np.frexp(x)
    y_m, y_e = np.frexp(y)
    fraction = 2.0 * np.abs(x_m) + 2.0 * np.abs(y_m) - 1.0 + 2.0 ** -offset_bits(mantissa)
    sign = np.sign(x) * np.sign(y)
    return sign * np.ldexp(fraction, x_e + y_e - 2)


def square(a: Values, segments: int = 0) -> Values:
    """L-Mul of whole numbers with themselves, cut to whole numbers; 0 for 0."""
    return np.floor(lmul(a, a, _FRACTION, segments))
