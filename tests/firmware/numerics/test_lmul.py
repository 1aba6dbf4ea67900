"""L-Mul: the integer definition, its algebra, the paper's formula."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.lmul import (
    MOST_SEGMENTS,
    formula,
    fraction_bits,
    lmul,
    offset_bits,
    offsets,
    square,
)

formats = st.builds(Format, st.integers(5, 8), st.integers(2, 17))
patterns = st.integers(0, 1 << 30)


some_segments = st.integers(1, MOST_SEGMENTS)


def number(fmt: Format, pattern: int) -> float:
    return float(fmt.from_bits(pattern % (1 << fmt.width)))


def bits_of(fmt: Format, x: float) -> int:
    return int(fmt.to_bits([x])[0])


def product(fmt: Format, a: float, b: float) -> float:
    return float(lmul(a, b, fmt.mantissa))


def parts(x: float) -> tuple[Fraction, int]:
    """Fraction x_m and exponent x_e of |x| = (1 + x_m) * 2**x_e."""
    significand, exponent = math.frexp(abs(x))
    return Fraction(significand) * 2 - 1, exponent - 1


@given(formats, patterns, patterns)
def test_adds_bit_patterns_of_the_format(fmt: Format, i: int, j: int) -> None:
    """Where the sum of the patterns is a normal number again, the product is that number."""
    a, b = abs(number(fmt, i)), abs(number(fmt, j))
    offset = (1 << fmt.mantissa) >> offset_bits(fmt.mantissa)
    bits = bits_of(fmt, a) + bits_of(fmt, b) - (fmt.bias << fmt.mantissa) + offset
    if a == 0.0 or b == 0.0:
        assert product(fmt, a, b) == 0.0
    elif 1 << fmt.mantissa <= bits < 1 << (fmt.width - 1):
        assert product(fmt, a, b) == float(fmt.from_bits(bits))
    elif bits < 1 << fmt.mantissa:
        assert product(fmt, a, b) < fmt.smallest
    else:
        assert product(fmt, a, b) > fmt.largest


@given(formats, patterns, patterns)
def test_definition_in_rational_numbers(fmt: Format, i: int, j: int) -> None:
    a, b = number(fmt, i), number(fmt, j)
    got = Fraction(product(fmt, a, b))
    if a == 0.0 or b == 0.0:
        assert got == 0 and not np.signbit(fmt.round(lmul(a, b, fmt.mantissa))).any()
        return
    (a_m, a_e), (b_m, b_e) = parts(a), parts(b)
    fraction = a_m + b_m + Fraction(1, 1 << offset_bits(fmt.mantissa))
    whole, rest = divmod(fraction, 1)  # the carry goes on into the exponent
    size = (1 + rest) * Fraction(2) ** (a_e + b_e + int(whole))
    assert got == size * (-1 if (a < 0) != (b < 0) else 1)
    paper = (1 + fraction) * Fraction(2) ** (a_e + b_e)
    assert abs(Fraction(float(formula(a, b, fmt.mantissa)))) == paper
    assert (abs(got) == paper) if fraction < 1 else (abs(got) >= paper)


@given(formats, patterns, patterns)
def test_commutes_and_keeps_signs(fmt: Format, i: int, j: int) -> None:
    a, b = number(fmt, i), number(fmt, j)
    assert product(fmt, a, b) == product(fmt, b, a)
    assert product(fmt, -a, b) == product(fmt, a, -b) == -product(fmt, a, b)
    assert product(fmt, -a, -b) == product(fmt, a, b)


@given(formats, patterns, patterns, st.integers(-40, 40))
def test_powers_of_two_only_move_the_exponent(fmt: Format, i: int, j: int, k: int) -> None:
    a, b = number(fmt, i), number(fmt, j)
    assert product(fmt, math.ldexp(a, k), b) == math.ldexp(product(fmt, a, b), k)


@given(formats, patterns, patterns, patterns)
def test_monotone(fmt: Format, i: int, j: int, k: int) -> None:
    a, (b, c) = abs(number(fmt, i)), sorted([number(fmt, j), number(fmt, k)])
    assert product(fmt, a, b) <= product(fmt, a, c)
    if a and b != c:
        assert product(fmt, a, b) < product(fmt, a, c), "an addition loses nothing"


@given(formats, patterns, patterns)
def test_error_is_bounded(fmt: Format, i: int, j: int) -> None:
    """Mitchell's product is at most 1/9 too small, never too large; the offset adds up to 2**-l."""
    a, b = number(fmt, i), number(fmt, j)
    ratio = product(fmt, a, b) / (a * b) if a * b else 1.0
    assert 8 / 9 <= ratio <= 1.0 + 2.0 ** -offset_bits(fmt.mantissa)


@pytest.mark.parametrize(("mantissa", "bits"), [(2, 2), (3, 3), (4, 3), (5, 4), (9, 4), (17, 4)])
def test_offset_is_the_papers(mantissa: int, bits: int) -> None:
    assert offset_bits(mantissa) == bits
    one = lmul(1.0, 1.0, mantissa)
    assert one == formula(1.0, 1.0, mantissa) == 1.0 + 2.0**-bits


def test_arrays_broadcast_and_arguments_are_left_alone() -> None:
    a, b = np.array([[1.5], [-2.0], [0.0]]), np.array([3.0, 0.0, -0.25])
    before = a.copy(), b.copy()
    got = lmul(a, b, 9)
    want = [[float(lmul(x, y, 9)) for y in b] for x in a[:, 0]]
    assert lmul(1.5, 3.0, 9).shape == ()
    assert got.shape == (3, 3) and got.tolist() == want
    assert np.array_equal(a, before[0]) and np.array_equal(b, before[1])
    assert formula(a, b, 9).shape == (3, 3) and not formula(a, b, 9)[2].any()


@given(st.integers(0, (1 << 16) - 1))
def test_square_is_a_whole_number_near_the_square(n: int) -> None:
    got = float(square(np.array([float(n)]))[0])
    assert got == math.floor(float(lmul(float(n), float(n), 52)))
    assert got <= n * n * 17 / 16 and got >= n * n * 8 / 9 - 1


def lacking(x: Fraction, y: Fraction) -> Fraction:
    """What the mantissas' sum x + y lacks of the product's own mantissa and carry."""
    return x * y if (1 + x) * (1 + y) < 2 else (1 - x) * (1 - y) / 2


@pytest.mark.parametrize("mantissa", [2, 3, 4, 6])
@pytest.mark.parametrize("segments", range(1, MOST_SEGMENTS + 1))
def test_offsets_are_the_means_of_their_cells(mantissa: int, segments: int) -> None:
    """In rational numbers, to the nearest unit, halves up."""
    kept, found = min(segments, mantissa), offsets(mantissa, segments)
    assert found.shape == (1 << kept, 1 << kept) and np.array_equal(found, found.T)
    each = 1 << (mantissa - kept)
    for i in range(1 << kept):
        for j in range(1 << kept):
            x, y = (
                [Fraction(k * each + low, 1 << mantissa) for low in range(each)] for k in (i, j)
            )
            mean = sum(lacking(a, b) for a in x for b in y) / each**2
            unit = 1 << fraction_bits(mantissa, segments)
            assert found[i, j] == math.floor(mean * unit + Fraction(1, 2))


def test_offsets_of_the_presets() -> None:
    """Three bits each, in 64ths: what the chips of docs/numerics.md add."""
    assert offsets(9, 3).tolist() == [
        [0, 1, 1, 2, 2, 3, 3, 2],
        [1, 2, 4, 5, 7, 7, 5, 2],
        [1, 4, 6, 9, 9, 7, 4, 1],
        [2, 5, 9, 10, 8, 6, 3, 1],
        [2, 7, 9, 8, 6, 4, 3, 1],
        [3, 7, 7, 6, 4, 3, 2, 1],
        [3, 5, 4, 3, 3, 2, 1, 0],
        [2, 2, 1, 1, 1, 1, 0, 0],
    ]
    assert np.array_equal(offsets(9, 3), offsets(52, 3))


def test_without_segments_the_offset_is_the_papers() -> None:
    for mantissa in (2, 3, 4, 9, 17):
        assert offsets(mantissa, 0).tolist() == [[1]]
        assert fraction_bits(mantissa, 0) == offset_bits(mantissa)


@given(formats, patterns, patterns, some_segments)
def test_segments_add_bit_patterns_and_their_offset(
    fmt: Format, i: int, j: int, segments: int
) -> None:
    a, b = number(fmt, i), number(fmt, j)
    got = float(lmul(a, b, fmt.mantissa, segments))
    assert got == float(lmul(b, a, fmt.mantissa, segments))
    if a == 0.0 or b == 0.0:
        assert got == 0.0
        return
    (a_m, a_e), (b_m, b_e) = parts(a), parts(b)
    kept = min(segments, fmt.mantissa)
    offset = offsets(fmt.mantissa, segments)[int(a_m * (1 << kept)), int(b_m * (1 << kept))]
    fraction = a_m + b_m + Fraction(int(offset), 1 << fraction_bits(fmt.mantissa, segments))
    whole, rest = divmod(fraction, 1)
    size = (1 + rest) * Fraction(2) ** (a_e + b_e + int(whole))
    assert Fraction(got) == size * (-1 if (a < 0) != (b < 0) else 1)


@pytest.mark.parametrize(
    ("segments", "mean", "largest"),
    # One bit's four means are the paper's offset, rounded.
    [
        (0, 0.0266, 0.073),
        (1, 0.0266, 0.073),
        (2, 0.016, 0.063),
        (3, 0.0081, 0.032),
        (4, 0.0042, 0.02),
    ],
)
def test_errors_by_segments(segments: int, mean: float, largest: float) -> None:
    x = 1.0 + np.arange(1 << 9) / (1 << 9)
    error = lmul(x[:, None], x, 9, segments) / (x[:, None] * x) - 1.0
    size = np.abs(error)
    assert 0.9 * mean < size.mean() <= mean and 0.9 * largest < size.max() <= largest
    assert abs(error.mean()) < 0.0045


@given(st.integers(0, (1 << 16) - 1), some_segments)
def test_squares_with_segments_are_the_products(n: int, segments: int) -> None:
    got = float(square(np.array([float(n)]), segments)[0])
    assert got == math.floor(float(lmul(float(n), float(n), 52, segments)))
