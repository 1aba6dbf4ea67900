"""Five-trit weights: levels of a row by its absmax, their trits, and sums joined of planes."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.folders import BITNET
from setun.firmware.models.checkpoint import load_checkpoint
from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.five_trits import PLANES, TOP, joined, planes_of, quantise_rows
from setun.firmware.numerics.options import PRESETS
from setun.sim.reference.bitnet import FloatModel
from setun.sim.reference.layers import Trace

FLOATS = st.floats(-(2.0**60), 2.0**60, width=32, allow_subnormal=False)
WEIGHTS = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=FLOATS
)


def test_every_level_has_trits_of_its_own() -> None:
    levels = np.arange(-TOP, TOP + 1).astype(np.int8)
    planes = planes_of(levels)
    assert planes.shape == (PLANES, 243) and set(planes.ravel().tolist()) == {-1, 0, 1}
    assert np.array_equal(joined(planes), levels)
    assert len(np.unique(planes, axis=1).T) == 243


@given(WEIGHTS)
def test_rows_reach_their_absmax(w: np.ndarray) -> None:
    levels, scales = quantise_rows(w)
    assert levels.dtype == np.int8 and scales.dtype == np.float32
    top = np.abs(w).max(1)
    assert np.array_equal(np.abs(levels).max(1), np.where(top > 0, TOP, 0))
    np.testing.assert_allclose(scales * TOP, top, rtol=1e-6, atol=1e-42)  # subnormal scales
    # No level is further off than half a step, and signs stay.
    off = np.abs(w.astype(np.float64) - levels * (top.astype(np.float64) / TOP)[:, None])
    assert (off <= top[:, None] * (0.5 / TOP) * (1 + 1e-9)).all()
    assert (levels * np.sign(w) >= 0).all()


@given(WEIGHTS, st.integers(-20, 20))
def test_levels_do_not_depend_on_a_rows_size(w: np.ndarray, power: int) -> None:
    assert np.array_equal(quantise_rows(w)[0], quantise_rows(w * np.float32(2.0**power))[0])


def test_ties_go_to_even_levels() -> None:
    """As absmean's codes do; a row of zeros has scale 0."""
    halves = np.arange(-120.5, 121.0)
    rows = np.zeros((2, len(halves) + 1), np.float32)
    rows[0] = np.append(halves, 121.0)
    levels, scales = quantise_rows(rows)
    assert scales.tolist() == [1.0, 0.0] and not levels[1].any()
    assert (levels[0, :-1] % 2 == 0).all()
    assert np.array_equal(levels[0, :-1], np.rint(halves))


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_planes_multiply_as_their_levels_do(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    levels = rng.integers(-TOP, TOP + 1, (7, n)).astype(np.int8)
    codes = rng.integers(-127, 128, n)
    assert np.array_equal(
        joined(planes_of(levels).astype(np.int64) @ codes), levels.astype(int) @ codes
    )


@pytest.mark.parametrize("name", ["a_h64_l2_silu", "p_h256_l4_packed"])
def test_what_a_head_costs(name: str) -> None:
    """Divergence of the distributions, nat a token: 0.0001 of it are int8 codes of the input."""
    checkpoint, trace = load_checkpoint(BITNET / name), Trace()
    ids = np.load(BITNET / name / "io.npz")["input_ids"]
    logits = FloatModel(checkpoint).run(ids, trace=trace)
    compute, head = Arithmetic(PRESETS["default"]), checkpoint.tensors["lm_head.weight"]
    # Its norm is done, so the quantiser's own mean square is near 1: codes and maximum alone.
    x = compute.r(trace["norm"])
    codes, top = compute.codes(x, np.abs(x).max(-1, keepdims=True))
    levels, scales = quantise_rows(head)
    sums = codes.astype(np.float64) @ levels.T.astype(np.float64)
    got, _ = compute.rows(sums, top, compute.r(1 / 127), compute.r(scales.astype(np.float64)))
    want = log_softmax(logits)
    cost = (np.exp(want) * (want - log_softmax(got))).sum(-1).mean()
    assert 0 < cost < 0.0004


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64) - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))
