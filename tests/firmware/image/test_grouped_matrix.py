"""Matrices with scales of groups: in files, in programs, and what is refused."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.grouped import grouped_checkpoint
from setun.firmware.config import PACKINGS
from setun.firmware.errors import SetunError
from setun.firmware.image import file
from setun.firmware.image.grouped_matrix import GroupedMatrix
from setun.firmware.image.image import Image
from setun.firmware.image.model_hash import with_hash
from setun.firmware.models.compiler import compile_checkpoint, outline
from setun.firmware.numerics.grouped import GROUP, TOP, factored, levels
from setun.firmware.program.isa import Op
from setun.firmware.program.verify import verify

NAME = "model.layers.0.mlp.down_proj"


@pytest.fixture(scope="module")
def image() -> Image:
    return compile_checkpoint(grouped_checkpoint())


def matrix(image: Image, name: str = NAME) -> GroupedMatrix:
    found = next(m for m in image.matrices if m.name == name)
    assert isinstance(found, GroupedMatrix)
    return found


def test_weights_are_the_checkpoints(image: Image) -> None:
    tensors, held = grouped_checkpoint().tensors, matrix(image)
    want = tensors[f"{NAME}.weight"] * np.repeat(tensors[f"{NAME}.weight_scale"], GROUP, axis=1)
    got = held.levels() * held.row_scales()[:, None]
    off = np.abs(got - want).max(1)
    assert (off <= 0.5001 * held.row_scales()).all() and not got[0].any()
    assert held.factors().max(1)[1:].min() == TOP
    assert all(m.group == GROUP for m in image.matrices)
    assert "grouped" in str(image.program[-2])


@given(st.integers(0, 1 << 32), st.sampled_from([1e-30, 1e-3, 1.0, 6e4]))
def test_factors_are_as_near_as_whole_numbers_are(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(-1, 2, (5, 3 * GROUP)).astype(np.int8)
    scales = np.float32(rng.normal(size=(5, 3)) * size)
    turned, factors, units = factored(codes, scales)
    assert np.isin(turned, (-1, 0, 1)).all() and factors.max() == TOP
    got = levels(turned, factors) * units[:, None].astype(np.float64)
    want = codes * np.repeat(scales.astype(np.float64), GROUP, axis=1)
    assert (np.abs(got - want) <= 0.501 * units[:, None]).all()


@pytest.mark.parametrize("packing", PACKINGS)
def test_files(image: Image, packing: str) -> None:
    image = with_hash(dataclasses.replace(image, packing=packing))
    again = file.parse(file.dump(image)).image
    assert again.model_hash == image.model_hash and again.program == image.program
    for one, other in zip(again.matrices, image.matrices, strict=True):
        assert np.array_equal(one.codes(), other.codes())
        assert np.array_equal(one.row_scales(), other.row_scales())
    assert np.array_equal(matrix(again).factors(), matrix(image).factors())
    assert file.dump(again) == file.dump(image)


@pytest.mark.parametrize("at", [-1, -5])
def test_scales_are_the_models(image: Image, at: int) -> None:
    """Another unit or factor is another model, another hash."""
    held = matrix(image)
    values = held.values.copy()
    values[1, at] ^= 1
    others = [dataclasses.replace(m, values=values) if m is held else m for m in image.matrices]
    assert with_hash(dataclasses.replace(image, matrices=tuple(others))).model_hash != (
        image.model_hash
    )


def test_an_outline_has_the_sizes(image: Image) -> None:
    checkpoint = grouped_checkpoint()
    drawn = outline(checkpoint.architecture, checkpoint.config, "m")
    assert [(m.rows, m.columns, m.group) for m in drawn.matrices] == [
        (m.rows, m.columns, m.group) for m in image.matrices
    ]


def test_what_is_refused(image: Image) -> None:
    held = matrix(image)
    bad = held.values.copy()
    bad[3, -4:] = np.float32(np.nan).tobytes()[0], 0, 0xC0, 0x7F
    short = dataclasses.replace(held, values=held.values[:, :-1])
    for other, rule in (
        (dataclasses.replace(held, values=bad), "scales must be finite and not below 0"),
        (short, "rows of 384 codes take 103 bytes; found 102"),
        (dataclasses.replace(held, columns=130), "must have groups of 128 columns; found 130"),
    ):
        with pytest.raises(SetunError, match=rule):
            other.check("matrix")
    at = next(k for k, do in enumerate(image.program) if do.op is Op.MATVEC)
    program = list(image.program)
    program[at] = dataclasses.replace(program[at], grouped=False)
    with pytest.raises(SetunError, match="q_proj has scales of groups"):
        verify(with_hash(dataclasses.replace(image, program=tuple(program))), "image")
