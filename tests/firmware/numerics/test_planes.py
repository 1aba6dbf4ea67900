"""Five ternary planes against the floats that they stand for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.folders import BITNET
from setun.firmware.models.checkpoint import load_checkpoint
from setun.firmware.numerics.arithmetic import Arithmetic, MeanSquare
from setun.firmware.numerics.options import PRESETS
from setun.firmware.numerics.planes import PLANES, TOP, plane_rows, planes_of, whole_numbers
from setun.sim.reference.bitnet import FloatModel
from setun.sim.reference.layers import Trace


def test_every_level_has_its_trits() -> None:
    levels = np.arange(-TOP, TOP + 1, dtype=np.float32)[None]
    planes = planes_of(levels)
    assert planes.trits.shape == (PLANES, 1, 243) and planes.exponent.tolist() == [0]
    assert set(np.unique(planes.trits)) == {-1, 0, 1}
    np.testing.assert_array_equal(whole_numbers(planes), levels)
    assert len(np.unique(planes.trits.reshape(PLANES, -1), axis=1).T) == 243


@given(
    seed=st.integers(0, 1 << 32),
    size=st.sampled_from([1e-30, 1e-3, 1.0, 121.0, 1e9]),
    rows=st.integers(1, 5),
)
def test_nearest_levels(seed: int, size: float, rows: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(rows, 7)) * size * 2.0 ** rng.integers(-6, 6, (rows, 1))
    weight = weight.astype(np.float32)
    planes = planes_of(weight)
    whole = whole_numbers(planes)
    assert np.abs(whole).max() <= TOP and (np.abs(whole).max(1) > TOP // 2 - 1).all()
    unit = np.ldexp(1.0, planes.exponent)[:, None]
    assert (np.abs(whole * unit - weight) <= 0.5 * unit).all()


def test_rows_of_zeros() -> None:
    planes = planes_of(np.zeros((2, 3), np.float32))
    assert not planes.trits.any()


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_rows_are_products(preset: str) -> None:
    compute = Arithmetic(PRESETS[preset])
    rng = np.random.default_rng(1)
    x, weight = compute.r(rng.normal(size=96)), rng.normal(size=(50, 96)).astype(np.float32)
    gain = np.ones(96)
    codes, scale = compute.quantise(
        x, gain, gain, compute.r(1 / 96), (0.0, 1e-6), MeanSquare.NONE, 0.0
    )
    planes = planes_of(weight)
    want = weight @ (x / np.sqrt(np.mean(x * x)))
    got = plane_rows(compute, codes, scale, planes)
    most = {"default": 0.01, "lmul": 0.08}.get(preset, 0.12)
    assert np.sqrt(np.mean((got - want) ** 2)) < most * want.std()
    np.testing.assert_array_equal(got, compute.r(got))


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
    got = plane_rows(compute, codes, top, planes_of(head))
    want = log_softmax(logits)
    cost = (np.exp(want) * (want - log_softmax(got))).sum(-1).mean()
    assert 0 < cost < 0.0008


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64) - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))
