"""Number formats against independent truth: exact fractions and every pattern."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from setun.firmware.errors import SetunError
from setun.firmware.numerics.formats import Format

FORMATS = [Format(8, 9), Format(6, 9), Format(8, 7), Format(5, 2), Format(7, 10)]
formats = st.builds(Format, st.integers(5, 8), st.integers(2, 10))
finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e60, max_value=1e60)


def nearest(fmt: Format, x: Fraction) -> Fraction:
    """Round to nearest even with an unbounded exponent, then flush or saturate."""
    if x == 0:
        return Fraction(0)
    size = abs(x)
    octave = size.numerator.bit_length() - size.denominator.bit_length()
    if Fraction(2) ** octave > size:
        octave -= 1
    unit = Fraction(2) ** (octave - fmt.mantissa)
    rounded = round(size / unit) * unit  # Python's round of a Fraction is to even
    if rounded < Fraction(fmt.smallest):
        return Fraction(0)
    return min(rounded, Fraction(fmt.largest)) * (1 if x > 0 else -1)


def rounded(fmt: Format, x: float) -> float:
    return float(fmt.round([x])[0])


def every(fmt: Format) -> np.ndarray:
    return np.arange(1 << fmt.width, dtype=np.int64)


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_every_pattern_reads_and_writes_back(fmt: Format) -> None:
    bits = every(fmt)
    values = fmt.from_bits(bits)
    field = (bits >> fmt.mantissa) & ((1 << fmt.exponent) - 1)
    assert not np.signbit(values[field == 0]).any() and not values[field == 0].any()
    normal = field > 0
    assert np.array_equal(fmt.to_bits(values[normal]), bits[normal])
    assert np.array_equal(fmt.round(values), values)
    assert np.abs(values).max() == fmt.largest and values[normal & (values > 0)].min() == (
        fmt.smallest
    )
    positive = values[normal & (bits >> (fmt.width - 1) == 0)]
    assert (np.diff(positive) > 0).all()


@given(formats, finite)
def test_rounding_is_correct(fmt: Format, x: float) -> None:
    want = float(nearest(fmt, Fraction(x)))
    got = rounded(fmt, x)
    assert got == want and not (want == 0 and np.signbit(got))
    assert fmt.round1(x) == want
    assert fmt.from_bits(fmt.to_bits([x])).tolist() == [want]


@given(formats, st.integers(0), st.integers(0), st.sampled_from("+-*"))
def test_one_rounding_through_float64(fmt: Format, i: int, j: int, operation: str) -> None:
    a, b = (float(fmt.from_bits(k % (1 << fmt.width))) for k in (i, j))
    exact = {
        "+": Fraction(a) + Fraction(b),
        "-": Fraction(a) - Fraction(b),
        "*": Fraction(a) * Fraction(b),
    }[operation]
    through = {"+": a + b, "-": a - b, "*": a * b}[operation]
    assert rounded(fmt, through) == float(nearest(fmt, exact))


@given(formats, st.integers(0), st.integers(0), st.integers(-14, 14))
def test_sums_of_near_exponents(fmt: Format, i: int, j: int, apart: int) -> None:
    field = i % ((1 << fmt.exponent) - 1) + 1
    other = min(max(field + apart, 1), (1 << fmt.exponent) - 1)
    low = (1 << fmt.mantissa) - 1
    a = float(fmt.from_bits(field << fmt.mantissa | (i >> 8) & low))
    b = -float(fmt.from_bits(other << fmt.mantissa | j & low))
    assert rounded(fmt, a + b) == float(nearest(fmt, Fraction(a) + Fraction(b)))


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_ends_of_the_range(fmt: Format) -> None:
    top, tiny = fmt.largest, fmt.smallest
    half_ulp = math.ldexp(tiny, -fmt.mantissa - 2)
    given_want = {
        top: top,
        1e300: top,
        -1e300: -top,
        tiny: tiny,
        tiny - half_ulp: tiny,  # rounds up before it could be flushed
        tiny - 4 * half_ulp: 0.0,
        tiny / 2: 0.0,
        -tiny / 2: 0.0,
        -0.0: 0.0,
        5e-324: 0.0,
    }
    got = fmt.round(list(given_want))
    assert got.tolist() == list(given_want.values())
    assert not np.signbit(got[got == 0]).any()
    assert [fmt.round1(x) for x in given_want] == got.tolist()


@given(formats, st.lists(finite, max_size=8))
def test_arrays_round_as_numbers(fmt: Format, xs: list[float]) -> None:
    before = list(xs)
    array = np.array(xs, np.float64)
    assert fmt.round(array).tolist() == [rounded(fmt, x) for x in xs]
    assert array.tolist() == before  # the argument is not written to


@pytest.mark.parametrize(("exponent", "mantissa"), [(3, 9), (9, 9), (8, 1), (8, 25)])
def test_unsupported_formats_are_refused(exponent: int, mantissa: int) -> None:
    with pytest.raises(SetunError):
        Format(exponent, mantissa)
