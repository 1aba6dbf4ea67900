"""Noise and stochastic rounding of the recurrent state."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import xorshift32
from setun.firmware.numerics.noise import (
    NOISE_BITS,
    STRIDE,
    first_state,
    next_state,
    round_stochastic,
    state_noise,
)

LEVELS = 1 << NOISE_BITS
generators = st.integers(1, (1 << 32) - 1)
formats = st.builds(Format, st.integers(5, 8), st.integers(4, 16))
finite = st.floats(-1e6, 1e6)


def wide(fmt: Format) -> Format:
    return Format(fmt.exponent, fmt.mantissa + NOISE_BITS)


def every(fmt: Format, x: float) -> np.ndarray:
    """`x` rounded with each of the noises."""
    return round_stochastic(fmt, np.full(LEVELS, x), np.arange(LEVELS))


@given(formats, finite)
def test_up_exactly_as_often_as_what_is_dropped(fmt: Format, value: float) -> None:
    x = wide(fmt).round1(value)
    got = every(fmt, x)
    if abs(x) < fmt.largest:
        assert got.mean() == x, "over all noises the mean is exact"
    low, high = float(np.abs(got).min()), float(np.abs(got).max())
    assert low <= abs(x) <= high or abs(x) > fmt.largest
    ulp = 2.0 ** (np.frexp(abs(x))[1] - 1 - fmt.mantissa)
    assert high - low in (0.0, ulp), "one of the two neighbours"
    np.testing.assert_array_equal(fmt.round(got), got)
    assert (np.diff(np.abs(got)) >= 0).all(), "more noise never rounds lower"
    np.testing.assert_array_equal(every(fmt, -x), -got)


@given(formats, finite)
def test_representable_values_stay(fmt: Format, value: float) -> None:
    x = fmt.round1(value)
    got = every(fmt, x)
    assert (got == x).all() and not np.signbit(got[got == 0.0]).any()


@pytest.mark.parametrize("fmt", [Format(8, 9), Format(6, 7), Format(5, 4)], ids=str)
def test_ends_of_the_range(fmt: Format) -> None:
    top = wide(fmt).largest
    assert top > fmt.largest
    for x, want in ((top, fmt.largest), (-top, -fmt.largest), (0.0, 0.0), (-0.0, 0.0)):
        got = every(fmt, x)
        assert (got == want).all() and (want != 0.0 or not np.signbit(got).any())
    assert (every(fmt, fmt.smallest) == fmt.smallest).all()


@given(generators, st.integers(0, 4096), st.integers(0, 64), st.integers(0, 64))
def test_cutting_the_state_changes_nothing(state: int, first: int, a: int, b: int) -> None:
    whole = state_noise(state, first, a + b)
    parts = [state_noise(state, first, a), state_noise(state, first + a, b)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert whole.shape == (a + b,) and ((whole >= 0) & (whole < LEVELS)).all()


@given(generators, st.integers(0, 1 << 16))
def test_window_of_an_element(state: int, k: int) -> None:
    """A rotation in rings of bits, written out."""
    bits = f"{state:032b}"
    turn = STRIDE * k % 32
    window = int((bits[turn:] + bits[:turn])[-NOISE_BITS:], 2)
    assert state_noise(state, k, 1).tolist() == [window ^ (k // 32 * 8) % LEVELS]


def test_generator_is_seeded_and_steps_once_a_token() -> None:
    starts = {first_state(seed) for seed in range(1000)}
    assert len(starts) == 1000 and 0 not in starts
    state = first_state(1)
    for _ in range(5):
        assert next_state(state) == xorshift32(state)
        state = next_state(state)


def test_noise_is_fair_over_tokens() -> None:
    tokens, elements = 4096, 256
    state, seen = first_state(7), np.empty((tokens, elements), np.int64)
    for t in range(tokens):
        state = next_state(state)
        seen[t] = state_noise(state, 0, elements)
    counts = np.bincount(seen[:, 5], minlength=LEVELS)
    expected = tokens / LEVELS
    assert ((counts - expected) ** 2 / expected).sum() < 341, "99.98 % of fair ones, 255 degrees"
    centred = seen - (LEVELS - 1) / 2
    assert np.abs(centred.mean(0)).max() < 5 * LEVELS / np.sqrt(12 * tokens)
    after = (centred[1:] * centred[:-1]).mean(0) / centred.var()
    assert np.abs(after).max() < 5 / np.sqrt(tokens), "one token's says nothing of the next's"
    beside = (centred[:, :31] * centred[:, 1:32]).mean(0) / centred.var()
    assert np.abs(beside).max() < 5 / np.sqrt(tokens), "nor does a neighbour's"
