"""The chip's attention and RoPE against real numbers, and at their corners."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.folders import BITNET
from setun.firmware.numerics import attention, rotary
from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.attention import BYTE, Attention, exp2
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import PRESETS, Numerics
from setun.sim.reference import bitnet
from setun.sim.studies.transformers import Trial

FMT = Format()
PLAIN = Numerics()


def heads(*shape: int, seed: int = 1, size: float = 1.0) -> np.ndarray:
    return FMT.round(np.random.default_rng(seed).normal(size=shape) * size)


def test_cosines() -> None:
    phase = np.random.default_rng(1).integers(0, 1 << rotary.PHASE_BITS, 100_000)
    angle = phase * (2 * np.pi / (1 << rotary.PHASE_BITS))
    wide = Format(8, 24)
    assert np.abs(rotary.cosine(wide, phase) - np.cos(angle)).max() < 2**-15
    assert np.abs(rotary.sine(wide, phase) - np.sin(angle)).max() < 2**-15
    quarters = np.arange(5) * rotary.QUARTER
    assert rotary.cosine(FMT, quarters).tolist() == [1, 0, -1, 0, 1]
    assert rotary.sine(FMT, quarters).tolist() == [0, 1, 0, -1, 0]
    base, gain = rotary.cosine_table()
    assert np.abs(base).max() == 1 << 17 and np.abs(gain).max() == 805


@pytest.mark.parametrize(("theta", "width"), [(10000.0, 96), (500000.0, 128), (1000042.0, 256)])
def test_phases_stay_true_to_the_context(theta: float, width: int) -> None:
    position = np.array([0, 1, 511, 4095])[:, None]
    phase = rotary.phases(rotary.increments(theta, width), position)
    angle = position * theta ** (-np.arange(width // 2) * 2 / width)
    turned = phase * (2 * np.pi / (1 << rotary.PHASE_BITS))
    off = np.abs(np.exp(1j * turned) - np.exp(1j * angle)).max(1)
    assert off[0] == 0 and off.max() < 8e-4


def test_rope_is_the_reference_s() -> None:
    x = heads(3, 5, 32)
    phase = rotary.phases(rotary.increments(10000.0, 32), 77)
    want = bitnet.rotated(x[:, None].astype(np.float32), 77, 10000.0)[:, 0]
    np.testing.assert_allclose(rotary.rotated(Arithmetic(PLAIN), x, phase), want, atol=0.012)
    np.testing.assert_array_equal(
        rotary.rotated(Arithmetic(PLAIN), x, rotary.phases(rotary.increments(1e4, 32), 0)), x
    )


def test_exponential() -> None:
    y = np.concatenate([np.linspace(-40, 40, 50_001), [0.0, -32768.0, 32767.99, 1e9, -1e9]])
    e, k = exp2(y)
    assert e.min() >= 1 << 16 and e.max() < 1 << 17
    cut = np.clip(np.floor(y * 2**14) / 2**14, -(2**15), 2**15 - 2**-14)
    np.testing.assert_allclose(np.log2(e) - 16 + k, cut, atol=1.5 * 2**-15)
    assert (e[50_001], k[50_001]) == (1 << 16, 0)
    assert (np.diff(((k << 17) + e)[np.argsort(y)]) >= 0).all()


def reference(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Real numbers: q [heads, d], k and v [T, shared, d]."""
    out, _ = bitnet.attend(*(x[None].astype(np.float32) for x in (q[None], k, v)))
    return out.reshape(q.shape)


def asked(q: np.ndarray) -> np.ndarray:
    """Queries as the chip has them: of their projection comes log2(e) / sqrt(d) with them."""
    return FMT.round(q * np.log2(np.e) / np.sqrt(q.shape[-1]))


def chip(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    numerics: Numerics = PLAIN,
    bits: int = BYTE,
) -> np.ndarray:
    unit = Attention(numerics, bits)
    return unit(asked(q), unit.coded(k), unit.coded(v))


@pytest.mark.parametrize(("width", "count", "shared", "length"), [(16, 4, 2, 9), (128, 20, 5, 200)])
def test_close_to_real_numbers(width: int, count: int, shared: int, length: int) -> None:
    q, k, v = (
        heads(count, width),
        heads(length, shared, width, seed=2),
        heads(length, shared, width),
    )
    want = reference(q, k, v)
    for bits, most in ((8, 0.02), (9, 0.01), (10, 0.006)):
        got = chip(q, k, v, bits=bits)
        assert np.sqrt(np.mean((got - want) ** 2)) < most * want.std()
        np.testing.assert_array_equal(got, FMT.round(got))


def test_batch_and_order_change_nothing() -> None:
    q, k, v = heads(2, 4, 16), heads(2, 7, 2, 16, seed=2), heads(2, 7, 2, 16, seed=3)
    got = chip(q, k, v)
    for row in range(2):
        np.testing.assert_array_equal(chip(q[row], k[row], v[row]), got[row])
    order = np.random.default_rng(4).permutation(7)
    np.testing.assert_array_equal(chip(q, k[:, order], v[:, order]), got)


def test_first_position_gives_its_value() -> None:
    q, k, v = heads(4, 16, size=9), heads(1, 2, 16, seed=2), heads(1, 2, 16, seed=3)
    values = Attention(PLAIN).coded(v)
    want = np.ldexp(values.codes, values.exponent[..., None])[0]
    # Two roundings and a reciprocal are between them.
    np.testing.assert_allclose(chip(q, k, v), np.repeat(want, 2, axis=0), rtol=3e-3)
    assert np.abs(want - v[0]).max() <= 2.0 ** (values.exponent.max() - 1)


def test_equal_scores_give_the_mean() -> None:
    v = heads(8, 1, 16)
    got = chip(np.zeros((1, 16)), heads(8, 1, 16, seed=2), v)
    np.testing.assert_allclose(got[0], v[:, 0].mean(0), atol=0.02)


def test_scores_far_apart_give_the_largest_s_value() -> None:
    q = np.full((1, 16), 64.0)
    k = np.linspace(-64, 64, 5)[:, None, None] * np.ones(16)
    v = heads(5, 1, 16)
    np.testing.assert_allclose(chip(q, k, v)[0], v[-1, 0], atol=0.02)
    unit = Attention(PLAIN)
    y = unit.scores(unit.coded(asked(q)), unit.coded(k))
    assert 0.5 * attention.SCORE_LIMIT < y.max() < attention.SCORE_LIMIT
    beyond = chip(FMT.round(q * 1e9), k, v)  # all that saturate are alike
    np.testing.assert_allclose(beyond[0], v[3:, 0].mean(0), atol=0.02)


def test_dead_and_tiny_channels() -> None:
    q, k, v = heads(2, 16), heads(3, 1, 16, seed=2), heads(3, 1, 16, seed=3)
    np.testing.assert_array_equal(chip(q, k, v * 0), 0)
    tiny = chip(q, k, FMT.round(v * 1e-32))
    assert np.abs(tiny).max() < 1e-31 and np.isfinite(tiny).all() and tiny.any()
    tiny = FMT.round(v * 1e-32) * np.array([1, 0, 1])[:, None, None]
    assert chip(q, k, tiny).any(), "a head of zeros has the least unit"
    mixed = v.copy()
    mixed[1] = FMT.round(mixed[1] * 1e-32)
    assert np.abs(chip(q, k, mixed) - reference(q, k, mixed)).max() < 0.05


def test_codes() -> None:
    x = np.array([[1.998046875, -0.5], [0.0, 0.0], [-64.0, 63.75], [2.0**-120, 2.0**-127]])
    got = Attention(PLAIN).coded(x)
    assert got.codes.tolist() == [[127, -32], [0, 0], [-64, 64], [64, 1]]
    assert got.exponent.tolist() == [-6, -133, 0, -126]
    ninth = Attention(PLAIN, 9).coded(x[:1])
    assert ninth.codes.tolist() == [[255, -64]] and ninth.exponent.tolist() == [-7]
    for bits in (8, 9):
        many = heads(500, 16, size=1e3)
        coded = Attention(PLAIN, bits).coded(many)
        assert np.abs(coded.codes).max() < 2 ** (bits - 1)
        off = np.abs(np.ldexp(coded.codes, coded.exponent[:, None]) - many)
        assert (off <= np.ldexp(1.0, coded.exponent)[:, None]).all()


@given(
    seed=st.integers(0, 1 << 32),
    length=st.integers(1, 40),
    size=st.sampled_from([1e-30, 1e-3, 1.0, 50.0, 1e5, 1e30]),
    preset=st.sampled_from(["default", "lmul"]),
)
def test_results_lie_among_the_values(seed: int, length: int, size: float, preset: str) -> None:
    """Whatever the scores: a mean of the values, but for roundings and L-Mul's errors."""
    rng = np.random.default_rng(seed)
    q = FMT.round(rng.normal(size=(2, 8)) * rng.choice([0.0, 1e-3, 1.0, 100.0]))
    k, v = (FMT.round(rng.normal(size=(length, 1, 8))) for _ in range(2))
    v = FMT.round(v * size * 2.0 ** rng.integers(-9, 1, (length, 1, 1)))
    got = chip(q, k, v, PRESETS[preset])
    room = 1.15 if preset == "lmul" else 1.02
    assert (np.abs(got) <= room * np.abs(v).max((0, 1)) + np.abs(v).max() / 100).all()


@pytest.mark.parametrize(
    ("name", "most"), [("a_h64_l2_silu", 0.012), ("l_h128_l2_llama_bitlinear", 0.012)]
)
def test_what_it_costs_a_model(name: str, most: float) -> None:
    """Divergence of the distributions, nat a token, on a model with random weights."""
    assert 0 < Trial(BITNET / name).attention("all, codes of 8 bits").divergence < most
