"""Damaged GGUF and packed files: read as what they are or refused in one line, in little memory."""

import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.folders import BITNET
from firmware.models.gguf.test_gguf import small
from firmware.models.gguf.writing import head, write
from setun.firmware.errors import SetunError
from setun.firmware.models.checkpoint import load_checkpoint

MEMORY = 32 << 20
"""Bytes that a damaged file of a few thousand may take."""
HUGE = [1 << 16, 1 << 31, 1 << 32, (1 << 40) + 7, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
FUZZ = settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
VALUES, STORED = small(**{"tokenizer.ggml.tokens": ["a", "b"], "numbers": [1, 2, 3]})
HEAD = head(VALUES, STORED)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("gguf") / "m.gguf", VALUES, STORED).read_bytes()


def taken(path: Path) -> bool:
    """Whether a file is read to its last tensor; refused in one line otherwise."""
    tracemalloc.start()
    try:
        list(load_checkpoint(path).tensors.values())
        return True
    except SetunError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return False
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MEMORY


def test_every_truncation(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    for length in [*range(0, len(HEAD), 7), *range(len(HEAD), len(whole) - 32, 131)]:
        path.write_bytes(whole[:length])
        assert not taken(path), length
    path.write_bytes(whole)
    assert taken(path)


@FUZZ
@given(place=st.integers(0, len(HEAD) - 1), byte=st.integers(1, 255), more=st.binary(max_size=3))
def test_damaged_heads(whole: bytes, tmp_path: Path, place: int, byte: int, more: bytes) -> None:
    data = bytearray(whole)
    data[place] ^= byte
    data[place + 1 : place + 1 + len(more)] = more
    (tmp_path / "m.gguf").write_bytes(data)
    taken(tmp_path / "m.gguf")


@FUZZ
@given(place=st.integers(4, len(HEAD) - 8), size=st.sampled_from(HUGE), wide=st.booleans())
def test_sizes_that_overflow(
    whole: bytes, tmp_path: Path, place: int, size: int, wide: bool
) -> None:
    data = bytearray(whole)
    new = struct.pack("<Q", size) if wide else struct.pack("<I", size & 0xFFFFFFFF)
    data[place : place + len(new)] = new
    (tmp_path / "m.gguf").write_bytes(data)
    taken(tmp_path / "m.gguf")


def test_tensors_over_others_or_beyond_the_end(whole: bytes, tmp_path: Path) -> None:
    names = list(STORED)
    place = {name: whole.index(name.encode()) + len(name) for name in names}
    for name in names:
        dimensions = len(STORED[name][1])
        offset = place[name] + 4 + 8 * dimensions + 4
        for wrong in (1, 1 << 20, (1 << 64) - 32, 32 if name == names[0] else 0):
            data = bytearray(whole)
            data[offset : offset + 8] = struct.pack("<Q", wrong)
            (tmp_path / "m.gguf").write_bytes(data)
            assert not taken(tmp_path / "m.gguf"), (name, wrong)


def test_names_that_repeat(whole: bytes, tmp_path: Path) -> None:
    data = whole.replace(b"blk.0.attn_k.weight", b"blk.0.attn_v.weight")
    (tmp_path / "m.gguf").write_bytes(data)
    with pytest.raises(SetunError, match=r"tensor blk\.0\.attn_v\.weight: must be in m\.gguf once"):
        load_checkpoint(tmp_path / "m.gguf")


PACKED = (BITNET / "l_h128_l2_llama_bitlinear" / "model.safetensors").read_bytes()
LENGTH = 8 + struct.unpack("<Q", PACKED[:8])[0]


@FUZZ
@given(place=st.integers(0, LENGTH - 1), byte=st.integers(1, 255), more=st.binary(max_size=2))
def test_damaged_heads_of_packed_files(tmp_path: Path, place: int, byte: int, more: bytes) -> None:
    data = bytearray(PACKED)
    data[place] ^= byte
    data[place + 1 : place + 1 + len(more)] = more
    _folder(tmp_path).joinpath("model.safetensors").write_bytes(data)
    taken(tmp_path)


@FUZZ
@given(data=st.data())
def test_packed_files_with_other_entries(tmp_path: Path, data: st.DataObject) -> None:
    """Shapes, types and places of tensors exchanged, moved and missing."""
    header = json.loads(PACKED[8:LENGTH])
    name = data.draw(st.sampled_from(sorted(header)))
    if data.draw(st.booleans()):
        del header[name]
    else:
        other = data.draw(st.sampled_from(sorted(header)))
        field = data.draw(st.sampled_from(["dtype", "shape", "data_offsets"]))
        odd = st.lists(st.integers(-1, 1 << 64), max_size=3) | st.sampled_from(["U8", "I64"])
        found = header[other].get(field, []) if data.draw(st.booleans()) else data.draw(odd)
        header[name] = {**header[name], field: found}
    text = json.dumps(header).encode()
    made = struct.pack("<Q", len(text)) + text + PACKED[LENGTH:]
    _folder(tmp_path).joinpath("model.safetensors").write_bytes(made)
    taken(tmp_path)


def _folder(path: Path) -> Path:
    config = BITNET / "l_h128_l2_llama_bitlinear" / "config.json"
    (path / "config.json").write_text(config.read_text())
    return path


def test_codes_of_every_byte(tmp_path: Path) -> None:
    """Random bytes of the tensors are codes or refused; nothing else."""
    rng = np.random.default_rng(7)
    _folder(tmp_path)
    for _ in range(20):
        noise = rng.integers(0, 256, len(PACKED) - LENGTH, np.uint8).tobytes()
        (tmp_path / "model.safetensors").write_bytes(PACKED[:LENGTH] + noise)
        assert not taken(tmp_path)
