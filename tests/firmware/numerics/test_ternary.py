"""Absmean against upstream's codes; packings against their published rules."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from bench.folders import DATA, VECTORS
from setun.firmware.errors import SetunError
from setun.firmware.numerics.ternary import (
    TRIT_DECODE,
    TRIT_ENCODE,
    absmean,
    codes_of,
    pack_2b,
    pack_trits,
    unpack_2b,
    unpack_trits,
)

MODELS = ["a_h64_l2", "b_h128_l4", "d_h64_l3_nolb"]
CODES = hnp.arrays(
    np.int8,
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=23),
    elements=st.integers(-1, 1),
)


@pytest.mark.parametrize("name", MODELS)
def test_absmean_equals_upstream(name: str) -> None:
    folder = VECTORS / name
    weights = load_file(folder / "model.safetensors")
    expected = np.load(folder / "ternary.npz")
    matrices = [key.removesuffix(".codes") for key in expected.files if key.endswith(".codes")]
    assert len(matrices) >= 13
    for matrix in matrices:
        codes, scale = absmean(weights[matrix + ".weight"])
        np.testing.assert_array_equal(codes, expected[matrix + ".codes"], err_msg=matrix)
        np.testing.assert_allclose(1 / scale, expected[matrix + ".scale"], rtol=3e-7)


def test_absmean_rounds_half_to_even() -> None:
    ops = np.load(DATA / "ops.npz")
    for name in ("wq", "wq1"):
        codes, scale = absmean(ops[name + "_w"])
        np.testing.assert_allclose(codes * scale, ops[name + "_u"], rtol=1e-6)
    w = np.array([[0.5, -0.5, 1.5, 1.5]], dtype=np.float32)  # mean 1: two ties at 0.5
    codes, scale = absmean(w)
    assert scale == 1
    assert codes.tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize("scale", [1e-5, 0.0313, 0.0221, 1 / 3, 1.0, 7.7, 65504.0, 1e30])
def test_codes_are_what_rounding_and_clipping_give(scale: float) -> None:
    """Of all magnitudes, and of the floats around the one half."""
    m = np.float32(scale)
    near = np.float32(0.5 * scale).view(np.uint32) + np.arange(-9, 10)
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    large = 10.0 ** np.arange(-45, 38.5)
    w = np.concatenate(
        [near.astype(np.uint32).view(np.float32), halves[np.isfinite(halves)], large]
    )
    w = np.concatenate([w, -w]).astype(np.float32)
    with np.errstate(over="ignore"):
        expected = np.clip(np.rint(w * (np.float32(1) / m)), -1, 1)
    np.testing.assert_array_equal(codes_of(w, m, np.empty(w.shape, np.int8)), expected)


def test_absmean_of_zeros() -> None:
    codes, scale = absmean(np.zeros((4, 4), dtype=np.float32))
    assert not codes.any()
    assert scale == np.float32(1e-5)


@given(CODES)
def test_round_trips(codes: np.ndarray) -> None:
    n = codes.shape[-1]
    np.testing.assert_array_equal(unpack_2b(pack_2b(codes), n), codes)
    np.testing.assert_array_equal(unpack_trits(pack_trits(codes), n), codes)
    assert pack_2b(codes).shape == (*codes.shape[:-1], -(-n // 4))
    assert pack_trits(codes).shape == (*codes.shape[:-1], -(-n // 5))


def test_layout_of_2b() -> None:
    codes = np.array([1, -1, 0, 1, -1], dtype=np.int8)
    assert pack_2b(codes).tolist() == [0b01_00_11_01, 0b00_00_00_11]


def test_trit_tables() -> None:
    # Spot values worked out by hand from the published rules, both special cases included.
    for byte, trits in {
        0x00: (0, 0, 0, 0, 0),
        0x03: (0, 0, 2, 0, 0),
        0x0C: (0, 2, 2, 0, 0),
        0x13: (0, 1, 2, 0, 0),
        0x1C: (0, 0, 0, 2, 2),
        0x60: (0, 0, 0, 0, 2),
        0x80: (0, 0, 0, 0, 1),
        0xE4: (0, 1, 0, 1, 2),
        0xFC: (0, 2, 2, 2, 2),
    }.items():
        assert tuple(TRIT_DECODE[byte]) == trits, hex(byte)
    assert len(np.unique(TRIT_DECODE, axis=0)) == 243
    assert TRIT_DECODE.max() == 2
    for trits in np.ndindex(3, 3, 3, 3, 3):
        same = np.flatnonzero(np.equal(TRIT_DECODE, trits).all(axis=1))
        assert TRIT_ENCODE[trits] == same.min()


def test_corrupt_packings_are_refused() -> None:
    with pytest.raises(SetunError, match="found 10"):
        unpack_2b(np.array([0b10], dtype=np.uint8), 4)
    with pytest.raises(SetunError, match="padding"):
        unpack_2b(np.array([0b01_00_00_00], dtype=np.uint8), 3)
    with pytest.raises(SetunError, match="padding"):
        unpack_trits(TRIT_ENCODE[0, 0, 0, 0, 1:2], 4)
    with pytest.raises(SetunError, match="take 2 bytes"):
        unpack_2b(np.zeros(1, dtype=np.uint8), 5)
    with pytest.raises(SetunError, match="int8"):
        pack_2b(np.array([2], dtype=np.int8))
    with pytest.raises(SetunError, match="int8"):
        pack_trits(np.array([0.0]))
