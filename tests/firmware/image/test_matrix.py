"""Packed matrices: any rows of any packing, from memory and from a mapped file."""

from pathlib import Path

import numpy as np
import pytest

from setun.firmware.config import PACKINGS, ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image import array_words, matrix
from setun.firmware.image import file as image_file
from setun.firmware.image.array_words import packed_words
from setun.firmware.image.matrix import PackedMatrix, code_blocks
from setun.firmware.numerics import ternary
from setun.models.random import random_image

CODES = np.random.default_rng(3).integers(-1, 2, (37, 43)).astype(np.int8)


@pytest.fixture(params=[1, 100, 1 << 20])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Weights at a time: a row, a few, all."""
    monkeypatch.setattr(ternary, "BLOCK", request.param)
    return int(request.param)


@pytest.mark.parametrize("packing", PACKINGS)
def test_codes_come_back(packing: str, block: int) -> None:
    held = PackedMatrix.of_codes("m", CODES, 0.5, packing)
    held.check("m")
    assert (held.rows, held.columns, held.scale) == (37, 43, 0.5)
    np.testing.assert_array_equal(held.codes(), CODES)
    for rows in (slice(0), slice(0, 1), slice(5, 9), slice(30, None)):
        np.testing.assert_array_equal(held.codes(rows), CODES[rows])
    parts = list(code_blocks(held))
    assert len(parts) == {1: 37, 100: 19, 1 << 20: 1}[block]
    np.testing.assert_array_equal(np.concatenate([codes for _, codes in parts]), CODES)
    for other in PACKINGS:
        again = PackedMatrix("m", held.packed(other), 43, 0.5, other)
        np.testing.assert_array_equal(again.codes(), CODES)
    assert held.packed(packing) is held.values


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("columns", [43, 45, 1000, 70_000])
def test_floats_are_packed_as_their_codes(packing: str, columns: int) -> None:
    w = np.random.default_rng(5).standard_normal((150, columns), np.float32)
    codes, scale = ternary.absmean(w)
    expected = PackedMatrix.of_codes("m", codes, float(scale), packing)
    held = PackedMatrix.of_floats("m", w, ternary.absmean_scale(w), packing)
    held.check("m")
    np.testing.assert_array_equal(held.values, expected.values)
    np.testing.assert_array_equal(held.codes(), codes)
    assert held.scale == expected.scale and held.columns == columns
    one = PackedMatrix.of_floats("m", np.broadcast_to(w[:1], w.shape), scale, packing)
    np.testing.assert_array_equal(one.values, np.broadcast_to(held.values[:1], held.values.shape))


@pytest.mark.parametrize(
    ("packing", "place", "byte", "rule"),
    [
        ("2b", (36, 3), 0b10, "fields are 00, 01 or 11"),
        ("2b", (0, 10), 0b0100_0000, "padding codes are zero"),
        ("1.6b", (20, 3), 0x0F, "bytes are the least of their trits"),
        ("1.6b", (36, 8), 0x80, "padding codes are zero"),
    ],
)
def test_bytes_that_are_no_codes(
    packing: str, place: tuple[int, int], byte: int, rule: str, block: int
) -> None:
    held = PackedMatrix.of_codes("m", CODES, 0.5, packing)
    held.values[place] = byte
    with pytest.raises(SetunError, match=f"thing: {rule}"):
        held.check("thing")


def test_other_lengths_are_refused() -> None:
    held = PackedMatrix.of_codes("m", CODES, 0.5, "2b")
    with pytest.raises(SetunError, match="rows of 45 codes take 12 bytes; found 11"):
        PackedMatrix("m", held.values, 45, 0.5, "2b").check("thing")


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_file_is_mapped(tmp_path: Path, packing: str) -> None:
    path, image = tmp_path / "m.setun", random_image((72, 1, 96), packing=packing)
    image_file.save(image, path)
    mapped = image_file.load(path)
    for held in mapped.matrices:
        assert isinstance(held, matrix.PackedMatrix) and not held.values.flags.owndata
    image_file.save(random_image((72, 1, 96), seed=2), path)  # another file in its place
    for held, made in zip(mapped.matrices, image.matrices, strict=True):
        np.testing.assert_array_equal(held.codes(), made.codes())
    assert image_file.load(path).model_hash != image.model_hash


@pytest.mark.parametrize("rows", [4, 8])
@pytest.mark.parametrize("packing", PACKINGS)
def test_words_of_an_array_come_in_blocks(
    packing: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ChipConfig(columns=8, rows=rows, lanes=rows, packing=packing)
    codes = np.random.default_rng(4).integers(-1, 2, (rows * config.panel * 3 + 5, 43))
    held = PackedMatrix.of_codes("m", codes.astype(np.int8), 1.0, "1.6b")
    whole = packed_words(held, config)
    monkeypatch.setattr(ternary, "BLOCK", 1)
    blocks = list(array_words.word_blocks(held, config))
    assert len(blocks) == 4
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    assert len(whole) == array_words.matrix_words(held, config)
