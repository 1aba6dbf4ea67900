"""The chip's functions against the true ones in float64 and exact integers."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import (
    LN2_FIXED,
    NOISE_FRACTION,
    code_bits,
    code_reciprocals,
    gumbel,
    gumbel_table,
    rsqrt,
    rsqrt_table,
    seed_state,
    sigmoid,
    sigmoid_exact,
    sigmoid_table,
    xorshift32,
)

FORMATS = [Format(8, 9), Format(6, 9), Format(8, 7), Format(5, 2)]


def everything(fmt: Format) -> np.ndarray:
    return fmt.from_bits(np.arange(1 << fmt.width))


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_sigmoid_is_close_and_monotone(fmt: Format) -> None:
    x = np.unique(everything(fmt))
    y = sigmoid(fmt, x)
    assert np.array_equal(y, sigmoid_exact(fmt, x))
    inside = np.abs(x) < 15.99
    true = np.where(
        x < 0,
        np.exp(np.minimum(x, 0)) / (1 + np.exp(np.minimum(x, 0))),
        1 / (1 + np.exp(-np.maximum(x, 0))),
    )
    near = inside & (true >= fmt.smallest)
    ulp = np.exp2(np.floor(np.log2(true[near])) - fmt.mantissa)
    # Half a unit for the rounding, one part in 2**12 for the table and its argument.
    bound = 0.5 * ulp * (1 + 1e-9) + 2.0**-12 * true[near] + 2.0**-16
    assert (np.abs(y[near] - true[near]) <= bound).all()
    below = near & (x < 0)
    relative = np.abs(y[below] - true[below]) / true[below]
    assert relative.max() <= 2.0 ** -(fmt.mantissa + 1) + 2.0**-12
    assert (np.diff(y) >= 0).all()
    assert y.min() >= 0.0 and y.max() <= 1.0
    assert float(sigmoid(fmt, np.zeros(1))[0]) == 0.5


def test_sigmoid_table_fits_its_fields() -> None:
    base, drop, exponent = sigmoid_table()
    assert len(base) == len(drop) == len(exponent) == 512
    assert base.min() >= 1 << 13 and base.max() < 1 << 14
    assert drop.min() >= 0 and drop.max() < 1 << 9
    assert exponent.min() >= 1 and exponent.max() <= 24


@given(st.sampled_from(FORMATS), st.integers(1))
def test_rsqrt_is_correctly_rounded(fmt: Format, pattern: int) -> None:
    x = float(fmt.from_bits(pattern % (1 << (fmt.width - 1))))
    y = rsqrt(fmt, x)
    if x == 0.0:
        assert y == fmt.largest
        return
    # No neighbour is nearer: the half-way points on both sides straddle 1/sqrt(x).
    bits = int(fmt.to_bits([y])[0])
    above, below = (float(fmt.from_bits(bits + step)) for step in (1, -1))
    low, high = (Fraction(y) + Fraction(z) for z in (below, above))
    assert (low / 2) ** 2 <= 1 / Fraction(x) <= (high / 2) ** 2


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_rsqrt_table_is_rsqrt(fmt: Format) -> None:
    table = rsqrt_table(fmt)
    count = 1 << fmt.mantissa
    for octave in (0, 1):
        for mantissa in range(count):
            x = math.ldexp(1 + mantissa / count, octave)
            first = octave == 0 and mantissa == 0
            entry = 1 + int(table[octave * count + mantissa]) / count
            assert rsqrt(fmt, x) == math.ldexp(entry, 0 if first else -1)


def test_rsqrt_of_what_has_no_root() -> None:
    fmt = Format()
    assert rsqrt(fmt, 0.0) == rsqrt(fmt, -1.0) == fmt.largest


@pytest.mark.parametrize("fmt", [Format(8, 9), Format(6, 10), Format(8, 7), Format(5, 2)], ids=str)
def test_codes_are_exact_for_every_significand(fmt: Format) -> None:
    ones = 1 << fmt.mantissa
    reciprocals, k = code_reciprocals(fmt), code_bits(fmt)
    t = np.arange(ones, 2 * ones, dtype=np.int64)
    ties = 0
    for m in range(ones, 2 * ones):
        product = t * int(reciprocals[m - ones])
        for d in range(11):
            below = m << d
            want = (254 * t + below) // (2 * below)
            got = ((product >> (k + d - 1)) + 1) >> 1 if d <= 8 else np.zeros_like(t)
            legal = slice(None) if d else slice(None, m - ones + 1)
            assert np.array_equal(got[legal], want[legal]), (m, d)
            ties += int(((254 * t) % (2 * below) == below)[legal].sum())
    assert ties > 0


def test_gumbel_follows_its_distribution() -> None:
    rng = np.random.default_rng(11)
    uniform = rng.integers(1, 1 << 32, 100_000, dtype=np.int64)
    noise = np.sort([gumbel(int(u)) for u in uniform]) / (1 << NOISE_FRACTION)
    # Kolmogorov-Smirnov distance to exp(-exp(-x)); 1.95 / sqrt(n) fails one time in a thousand.
    cumulative = np.exp(-np.exp(-noise))
    steps = np.arange(1, len(noise) + 1) / len(noise)
    assert np.abs(cumulative - steps).max() < 1.95 / math.sqrt(len(noise))
    assert abs(noise.mean() - 0.5772) < 0.015 and abs(noise.var() - math.pi**2 / 6) < 0.04


@given(st.integers(1, (1 << 32) - 1))
def test_gumbel_is_close_to_the_true_quantile(uniform: int) -> None:
    v = uniform / 2**32
    true = -math.log(-math.log1p(-v))
    # v is known to one part in 128 of itself; the noise steepens where v nears 1.
    slope = v / ((1 - v) * -math.log1p(-v))
    bound = (slope / 128 + 0.01) * 1.05
    if v < 0.98:
        assert abs(gumbel(uniform) / (1 << NOISE_FRACTION) - true) <= bound
    else:
        assert -3.0 < gumbel(uniform) / (1 << NOISE_FRACTION) < -1.0


def test_gumbel_grows_by_an_octave() -> None:
    assert round(math.log(2) * 1024) == LN2_FIXED
    table = gumbel_table()
    assert table.shape == (512,)
    for k in range(8):
        assert (np.diff(table[64 * k : 64 * k + 64]) < 0).all()
    for zeros in range(8, 31):
        assert gumbel(1 << (31 - zeros)) == int(table[64 * 7]) + LN2_FIXED * (zeros - 7)


def test_generator_neither_sticks_nor_repeats() -> None:
    states = {seed_state(seed) for seed in range(1000)}
    assert len(states) == 1000 and 0 not in states
    state, seen = seed_state(0), set()
    for _ in range(20_000):
        state = xorshift32(state)
        assert 0 < state < 1 << 32
        seen.add(state)
    assert len(seen) == 20_000
    bits = np.array([(s >> np.arange(32)) & 1 for s in seen]).mean(axis=0)
    assert (np.abs(bits - 0.5) < 0.02).all()
