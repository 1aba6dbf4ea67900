"""Vectors that reach the corners of float arithmetic, and a count of the corners they reach."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from setun.firmware.numerics.formats import Format, Values

Bits = NDArray[np.int64]


def specials(fmt: Format) -> Bits:
    """Zeros in every form, both ends of the range, powers of two and their neighbours."""
    n, top = fmt.mantissa, (1 << fmt.exponent) - 1
    fields = {0, 1, 2, 3, top - 1, top}
    fields |= {min(max(fmt.bias + k, 0), top) for k in (-n - 3, -n - 1, -n, -2, -1, 0, 1, 2, n, 13)}
    mantissas = {0, 1, 1 << (n - 1), (1 << n) - 2, (1 << n) - 1}
    sizes = np.array(sorted(f << n | m for f in fields for m in mantissas), np.int64)
    return np.concatenate([sizes, sizes | 1 << (fmt.width - 1)])


def anything(fmt: Format, rng: np.random.Generator, count: int) -> Bits:
    """Random bit patterns, a third of them with a mantissa of few bits: ties are made of those."""
    bits = rng.integers(0, 1 << fmt.width, count)
    blunt = rng.integers(0, fmt.mantissa + 1, count)
    return np.where(rng.random(count) < 1 / 3, bits >> blunt << blunt, bits)


def near(fmt: Format, rng: np.random.Generator, bits: Bits, reach: int) -> Bits:
    """Random numbers whose exponent fields are within `reach` of those of `bits`."""
    field = (bits >> fmt.mantissa) & ((1 << fmt.exponent) - 1)
    field = np.clip(field + rng.integers(-reach, reach + 1, len(bits)), 0, (1 << fmt.exponent) - 1)
    rest = anything(fmt, rng, len(bits)) & ~(((1 << fmt.exponent) - 1) << fmt.mantissa)
    return rest | field << fmt.mantissa


def cancelling(fmt: Format, rng: np.random.Generator, bits: Bits) -> Bits:
    """Numbers a few units in the last place away from the negatives of `bits`."""
    sign = 1 << (fmt.width - 1)
    size = np.clip((bits & (sign - 1)) + rng.integers(-3, 4, len(bits)), 0, sign - 1)
    return size | (~bits & sign)


def pairs(fmt: Format, seed: int, count: int) -> tuple[Bits, Bits]:
    """Operands for a binary unit: all pairs of specials, then `count` random pairs.

    A quarter each of the random ones is unrelated, near in exponent, cancelling, and with a
    product near the ends of the range.
    """
    rng = np.random.default_rng(seed)
    special = specials(fmt)
    left, right = (grid.ravel() for grid in np.meshgrid(special, special))
    quarter = count // 4
    a = [anything(fmt, rng, quarter) for _ in range(4)]
    top = (1 << fmt.exponent) - 1
    ends = rng.choice([fmt.bias, 3 * fmt.bias + 1], quarter) + rng.integers(-1, 2, quarter)
    field = (a[3] >> fmt.mantissa) & top
    other = np.clip(ends - field, 0, top) << fmt.mantissa
    b = [
        anything(fmt, rng, quarter),
        near(fmt, rng, a[1], fmt.mantissa + 3),
        cancelling(fmt, rng, a[2]),
        (anything(fmt, rng, quarter) & ~(top << fmt.mantissa)) | other,
    ]
    return np.concatenate([left, *a]), np.concatenate([right, *b])


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How many exact results met each corner of rounding."""

    exact: int
    ties: int
    flushed: int
    saturated: int
    zero: int


def coverage(fmt: Format, exact: Values) -> Coverage:
    """Classify exact results (float64, shape [n]) before they are rounded to `fmt`."""
    x = np.abs(exact)
    some = x > 0.0
    _, e = np.frexp(np.where(some, x, 1.0))
    scaled = np.ldexp(np.where(some, x, 0.0), fmt.mantissa + 1 - e)
    rest = scaled - np.floor(scaled)
    return Coverage(
        exact=int((rest[some] == 0.0).sum()),
        ties=int((rest == 0.5).sum()),
        flushed=int((some & (fmt.round(exact) == 0.0)).sum()),
        saturated=int((x > fmt.largest).sum()),
        zero=int((~some).sum()),
    )
