"""Rounding to small floats: the fast way, the careful way and rational arithmetic agree."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setun.firmware.numerics import functions
from setun.firmware.numerics.formats import Format

FORMATS = [Format(e, m) for e in (5, 6, 8) for m in (2, 7, 9, 10)]


def exact(fmt: Format, x: float) -> float:
    """The definition: nearest with ties to even, as if the exponent were unbounded."""
    if x == 0.0:
        return 0.0
    v = Fraction(x)
    e = 0
    while abs(v) >= Fraction(2) ** (e + 1):
        e += 1
    while abs(v) < Fraction(2) ** e:
        e -= 1
    y = round(v / Fraction(2) ** (e - fmt.mantissa)) * Fraction(2) ** (e - fmt.mantissa)
    if abs(y) < Fraction(fmt.smallest):
        return 0.0
    return float(max(min(y, Fraction(fmt.largest)), -Fraction(fmt.largest)))


def hard_values(fmt: Format, rng: np.random.Generator, near: int) -> np.ndarray:
    """Ties and their neighbours, of binades around 2**near."""
    m = fmt.mantissa
    tie = 1.0 + (2 * rng.integers(0, 1 << m, 60) + 1) * 2.0 ** -(m + 1)
    x = np.ldexp(tie, rng.integers(near - 1, near + 2, 60)) * rng.choice([-1, 1], 60)
    return np.concatenate([x, np.nextafter(x, 0), np.nextafter(x, np.inf)])


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_ties_and_ends(fmt: Format) -> None:
    rng = np.random.default_rng(fmt.width)
    low, high = 1 - fmt.bias, (1 << fmt.exponent) - 1 - fmt.bias
    for near in (0, 7, low - 1, low, low + 1, high, high + 1):
        x = hard_values(fmt, rng, near)
        want = [exact(fmt, float(v)) for v in x]
        np.testing.assert_array_equal(fmt.round(x), want)
        np.testing.assert_array_equal([fmt.round1(float(v)) for v in x], want)
        np.testing.assert_array_equal(fmt._round_ends(x), want)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=6),
)
def test_any_values(fmt: Format, values: list[float]) -> None:
    want = [exact(fmt, v) for v in values]
    got = fmt.round(np.array(values))
    np.testing.assert_array_equal(got, want)
    assert not np.signbit(got[got == 0.0]).any(), "there is one zero"
    np.testing.assert_array_equal(fmt.from_bits(fmt.to_bits(got)), got)


def test_inputs_are_left_alone_and_shapes_kept() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 5))
    before = x.copy()
    y = Format().round(x)
    assert y.shape == x.shape and np.array_equal(x, before)
    strided = Format().round(x[:, ::2, 1:])
    np.testing.assert_array_equal(strided, y[:, ::2, 1:])
    assert Format().round(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("fmt", [Format(8, 9), Format(6, 7), Format(5, 10)], ids=str)
def test_sigmoid_lookup_is_its_definition(fmt: Format) -> None:
    rng = np.random.default_rng(1)
    x = fmt.round(
        np.concatenate(
            [
                rng.standard_normal(4000) * 4,
                rng.standard_normal(500) * 40,
                [0.0, 16.0, -16.0, 15.99],
                np.ldexp(rng.choice([-1.0, 1.0], 400), rng.integers(-30, 15, 400)),
            ]
        )
    )
    got = functions.sigmoid(fmt, x)
    np.testing.assert_array_equal(got, functions.sigmoid_exact(fmt, x))
    tolerance = 2.0 ** -(fmt.mantissa + 1) + 2.0**-11
    inner = np.abs(x) < 15.9
    true = 1.0 / (1.0 + np.exp(np.minimum(-x, 700.0)))
    assert (np.abs(got - true)[inner] <= tolerance * true[inner] + fmt.smallest).all()
