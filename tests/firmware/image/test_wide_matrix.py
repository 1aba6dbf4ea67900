"""Five-trit matrices: in files, in weight words, in programs, and what is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from setun.cli import cli
from setun.firmware.config import PACKINGS, ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image import file
from setun.firmware.image.array_words import matrix_words, packed_words, word_blocks
from setun.firmware.image.image import Image
from setun.firmware.image.model_hash import with_hash
from setun.firmware.image.wide_matrix import WideMatrix
from setun.firmware.models.architecture import HGRN_BIT
from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.numerics.five_trits import planes_of, quantise_rows
from setun.firmware.numerics.ternary import PACKING
from setun.firmware.program.builder import FIVE_TRITS
from setun.firmware.program.isa import Op
from setun.firmware.program.verify import verify
from setun.models.random import random_checkpoint
from setun.sim.folded import FoldedModel
from setun.sim.golden import GoldenModel

CONFIG = HGRN_BIT.sized(77, 48, 1, 64)


@pytest.fixture(scope="module")
def image() -> Image:
    return compile_checkpoint(random_checkpoint(HGRN_BIT, CONFIG, 3), head=FIVE_TRITS)


def head(image: Image) -> WideMatrix:
    matrix = image.matrices[-1]
    assert isinstance(matrix, WideMatrix)
    return matrix


def test_the_head_is_the_checkpoints(image: Image) -> None:
    weights = random_checkpoint(HGRN_BIT, CONFIG, 3).tensors["lm_head.weight"]
    levels, scales = quantise_rows(weights)
    assert np.array_equal(head(image).codes(), levels)
    assert np.array_equal(head(image).row_scales(), scales)
    assert [m.planes for m in image.matrices] == [1] * (len(image.matrices) - 1) + [5]
    assert "planes" in str(image.program[-2])


@pytest.mark.parametrize("packing", PACKINGS)
def test_files(image: Image, packing: str) -> None:
    image = with_hash(dataclasses.replace(image, packing=packing))
    again = file.parse(file.dump(image)).image
    assert again.model_hash == image.model_hash and again.program == image.program
    assert np.array_equal(head(again).values, head(image).values)
    assert file.dump(again) == file.dump(image)


def test_scales_are_the_models(image: Image) -> None:
    """Another scale is another model, another hash."""
    values = head(image).values.copy()
    values[0, -1] ^= 1
    other = dataclasses.replace(
        image, matrices=(*image.matrices[:-1], WideMatrix("lm_head", values))
    )
    assert with_hash(other).model_hash != image.model_hash


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("pump", [1, 2])
def test_words(image: Image, packing: str, pump: int) -> None:
    """Row group by row group: blocks, in each the planes, greatest first; then the scales."""
    config = ChipConfig(columns=32, rows=8, lanes=4, packing=packing, pump=pump)
    matrix, q, p = head(image), 8, 32
    words = packed_words(matrix, config)
    assert len(words) == matrix_words(matrix, config) == 10 * (5 * 2 + 1)
    assert np.array_equal(np.concatenate(list(word_blocks(matrix, config))), words)
    levels = np.zeros((80, 64), np.int8)
    levels[:77, :48] = matrix.codes()
    scales = np.zeros(80, np.int64)
    scales[:77] = config.vector.to_bits(matrix.row_scales())
    at = iter(words)
    for group in range(10):
        rows = slice(q * group, q * group + q)
        for block in range(2):
            for plane in reversed(planes_of(levels[rows, p * block : p * block + p])):
                parts = plane.reshape(pump, -1)
                assert np.array_equal(next(at), PACKING[packing].pack(parts).ravel())
        number = int.from_bytes(next(at).tobytes(), "little")
        assert number == sum(int(s) << 18 * k for k, s in enumerate(scales[rows]))


def test_meanings_agree(image: Image) -> None:
    """Golden model and float one, on logits; one row and a batch of it are the same."""
    ids = [3, 1, 4, 1, 5]
    one, batch = GoldenModel(image), GoldenModel(image, batch=2)
    for token in ids:
        one.feed(token)
        batch.feed(np.array([token, token]))
    logits = one.logits()
    assert np.array_equal(batch.logits(), [logits, logits])
    real = FoldedModel(image).forward_batch(np.array([ids]))[0, -1]
    assert np.corrcoef(logits, real)[0, 1] > 0.995


def refused(image: Image, matrix: object, **changes: object) -> str:
    """What `verify` says of the image with another head or another last MATVEC."""
    program = list(image.program)
    program[-2] = dataclasses.replace(program[-2], **changes)  # type: ignore[arg-type]
    changed = dataclasses.replace(
        image,
        matrices=(*image.matrices[:-1], matrix or head(image)),  # type: ignore[arg-type]
        program=tuple(program),
    )
    with pytest.raises(SetunError) as caught:
        verify(with_hash(changed), "image")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_refused(image: Image) -> None:
    def damaged(row: int, column: int, *data: int) -> WideMatrix:
        values = head(image).values.copy()
        values[row, column : column + len(data)] = data
        return WideMatrix("lm_head", values)

    assert "levels must be from -121 to 121" in refused(image, damaged(5, 7, 122))
    assert "levels must be from -121 to 121" in refused(image, damaged(5, 7, 128))
    nan = damaged(5, 48, *np.float32(np.nan).tobytes())
    assert "scales must be finite and not below 0" in refused(image, nan)
    minus = damaged(5, 48, *np.float32(-1).tobytes())
    assert "scales must be finite and not below 0" in refused(image, minus)
    assert "lm_head has 5 planes" in refused(image, None, planes=False)
    body = next(k for k, i in enumerate(image.program) if i.op is Op.MATVEC)
    program = list(image.program)
    program[body] = dataclasses.replace(program[body], planes=True)
    with pytest.raises(SetunError, match="has 1 planes"):
        verify(with_hash(dataclasses.replace(image, program=tuple(program))), "image")


def test_a_file_cut_short_is_refused(image: Image) -> None:
    cut = dataclasses.replace(head(image), values=head(image).values[:, :-1])
    header, sections = file._described(image, None)
    sections[-1] = dataclasses.replace(sections[-1], data=cut.values.tobytes())
    with pytest.raises(SetunError, match="77x48 levels and 77 scales take 4004 bytes; found 3927"):
        file._decode(header, {s.name: s for s in sections}, "image")


def test_import_and_inspect(tmp_path: Path) -> None:
    out = tmp_path / "M.setun"
    run = CliRunner()
    made = run.invoke(cli, ["import", "shakespeare", "-o", str(out), "--head", FIVE_TRITS])
    assert made.exit_code == 0, made.output
    shown = run.invoke(cli, ["inspect", str(out)])
    assert shown.exit_code == 0, shown.output
    assert any(line.split()[:2] == ["lm_head", "5t"] for line in shown.output.splitlines())
    wrong = run.invoke(cli, ["import", "shakespeare", "-o", str(out), "--head", "int8"])
    assert wrong.exit_code and "'ternary', '5t'" in wrong.output
