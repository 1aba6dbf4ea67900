"""The image file: exact round trips; no damaged or inconsistent file is ever accepted."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.folders import SMALL_DEMO
from firmware.image.hostile import (
    DATA,
    MODELS,
    SMALL,
    VALUES,
    assert_equal,
    refusal,
    rewritten,
    survives,
)
from setun.firmware.errors import SetunError
from setun.firmware.image import container
from setun.firmware.image import file as image_file
from setun.firmware.image.container import Section
from setun.firmware.image.image import Image
from setun.firmware.image.model_hash import with_hash
from setun.firmware.models.checkpoint import load_checkpoint
from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import Numerics
from setun.firmware.program import kernels
from setun.firmware.program.isa import Instruction, Op, Table
from setun.firmware.program.kernels import Kernel


@pytest.mark.parametrize("packing", ["2b", "1.6b"])
@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_round_trip(tmp_path: Path, folder: Path, packing: str) -> None:
    image = compile_checkpoint(load_checkpoint(folder), packing)
    path = tmp_path / "m.setun"
    numerics = Numerics(vector=Format(6, 9))
    image_file.save(image, path, numerics)
    assert_equal(image_file.load(path), image)
    file = image_file.read(path)
    assert file.numerics == numerics
    assert path.read_bytes() == image_file.dump(file.image, numerics)
    assert [p.name for p in tmp_path.iterdir()] == ["m.setun"]


def test_packings_hold_the_same_codes_in_the_promised_room() -> None:
    checkpoint = load_checkpoint(SMALL_DEMO)
    sizes = {}
    for packing in ("2b", "1.6b"):
        file = image_file.parse(image_file.dump(compile_checkpoint(checkpoint, packing)))
        ternary = sum(len(s.data) for s in file.sections if s.kind == "ternary")
        sizes[packing] = 8 * ternary / file.image.weights
    weights = [m.rows * m.columns for m in file.image.matrices]
    rows = [m.rows * -(-m.columns // 5) for m in file.image.matrices]
    assert sizes == {"2b": 2.0, "1.6b": 8 * sum(rows) / sum(weights)}
    assert 1.6 <= sizes["1.6b"] < 1.66


def test_failed_save_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "m.setun"
    path.write_bytes(b"old")
    bad = dataclasses.replace(SMALL, tables={**SMALL.tables, Table.CONSTANTS: NANS})
    with pytest.raises(SetunError, match="constants: must be finite"):
        image_file.save(bad, path)
    assert path.read_bytes() == b"old"
    with pytest.raises(SetunError, match="must be writable"):
        image_file.save(SMALL, tmp_path / "none" / "m.setun")
    assert [p.name for p in tmp_path.iterdir()] == ["m.setun"]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 8 * len(DATA) - 1))
def test_any_flipped_bit_is_refused(bit: int) -> None:
    data = bytearray(DATA)
    data[bit // 8] ^= 1 << bit % 8
    refusal(bytes(data))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(DATA) - 1))
def test_any_truncation_is_refused(length: int) -> None:
    refusal(DATA[:length])


def with_meta(name: str, **meta: Any) -> bytes:
    def change(header: dict[str, Any], sections: dict[str, Section]) -> None:
        s = sections[name]
        sections[name] = Section(name, s.kind, s.data, {**s.meta, **meta})

    return rewritten(change)


def with_data(name: str, data: bytes, kind: str = "") -> bytes:
    def change(header: dict[str, Any], sections: dict[str, Section]) -> None:
        s = sections[name]
        sections[name] = Section(name, kind or s.kind, data, s.meta)

    return rewritten(change)


def trits(at: int, byte: int) -> bytes:
    """The small model, five trits to the byte, with a byte of its first matrix changed."""
    packed = dataclasses.replace(SMALL, packing="1.6b")
    header, sections = container.parse(image_file.dump(packed), "x")
    s = sections[I_PROJ]
    data = bytearray(s.data)
    data[at] = byte
    sections[I_PROJ] = Section(s.name, s.kind, bytes(data), s.meta)
    return container.dump(header, list(sections.values()))


I_PROJ = "model.layers.0.attn.i_proj"
NAN = np.float32("nan").tobytes()
NANS = np.full_like(SMALL.tables[Table.CONSTANTS], np.nan)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (rewritten(lambda h, s: h.update(format=3)), "format must be 2 or 1"),
        (rewritten(lambda h, s: h.update(format=True)), "format must be 2 or 1"),
        (rewritten(lambda h, s: h.update(format=1)), "header has"),
        (rewritten(lambda h, s: h.update(extra=1)), "'extra'"),
        (rewritten(lambda h, s: h.pop("generator")), "'generator'"),
        (rewritten(lambda h, s: h.update(packing="3b")), "must be one of 2b, 1.6b"),
        (rewritten(lambda h, s: h.update(packing="1.6b")), "take"),
        (rewritten(lambda h, s: h.update(model_hash="0" * 24)), "model hash must be"),
        (rewritten(lambda h, s: h.update(numerics={"vector": [8, 99]})), "mantissa"),
        (rewritten(lambda h, s: h.update(numerics={"speed": 1})), "'speed'"),
        (rewritten(lambda h, s: h.update(name="a\nb")), "name: must be a line of text"),
        (rewritten(lambda h, s: h.update(vocab_size=0)), "vocab_size: must be"),
        (rewritten(lambda h, s: h.update(vocab_size=True)), "vocab_size: must be"),
        (rewritten(lambda h, s: h.update(vocab_size=255)), "embedding: must be [255, n]"),
        (rewritten(lambda h, s: h.update(state=[["a", 0]])), "list of [name, start, size]"),
        (rewritten(lambda h, s: h.update(layers=7)), "list of [name, start, size]"),
        (rewritten(lambda h, s: h["vectors"][0].__setitem__(2, 65)), "follow the one before"),
        (rewritten(lambda h, s: h["vectors"][0].__setitem__(1, True)), "list of [name"),
        (rewritten(lambda h, s: h["vectors"][1].__setitem__(1, 96)), "t must start at a multiple"),
        (rewritten(lambda h, s: h["vectors"][1].__setitem__(0, "x")), "different names"),
        (rewritten(lambda h, s: h["vectors"].pop()), "at the start of a region"),
        (rewritten(lambda h, s: h["state"].pop()), "gates: must be [64]"),
        (rewritten(lambda h, s: h["state"][1].__setitem__(2, 63)), "must be a region of the state"),
        (rewritten(lambda h, s: h.update(state=[])), "tables are constants, embedding;"),
        (rewritten(lambda h, s: h["layers"][1].__setitem__(2, 10**9)), "follow the one before"),
        (rewritten(lambda h, s: s.pop("gates")), "tables are constants, embedding, gates;"),
        (rewritten(lambda h, s: s.pop("program")), "section program: must be there"),
        (rewritten(lambda h, s: s.pop("lm_head")), "no matrix left"),
        (rewritten(lambda h, s: s.pop(I_PROJ)), "instruction"),
        (rewritten(lambda h, s: s.update({I_PROJ: s.pop(I_PROJ)})), "instruction"),
        (rewritten(lambda h, s: s.update(odd=Section("odd", "riddle", b""))), "kind ternary"),
        (with_data(I_PROJ, b"\x02" * 1024), "fields are 00, 01 or 11"),
        (with_data(I_PROJ, b"\x00" * 1024), "model hash"),
        (trits(0, 0x0F), "bytes are the least of their trits"),
        (trits(12, 0x80), "padding codes are zero"),
        (with_data(I_PROJ, b"\x00" * 1023), "take 1024 bytes"),
        (with_data("constants", b""), "bytes"),
        (with_data("embedding", NAN * (SMALL.vocab_size * 64)), "embedding: must be finite"),
        (with_data("gates", np.float32([2.0] * 128).tobytes()), "from 0 to 1"),
        (with_data("gates", b"", "json"), "of kind float32"),
        (with_data("program", b"[\n\n]\n"), "canonical"),
        (with_data("program", b"["), "must be JSON"),
        (with_data("program", b"[" * 100_000), "must be JSON"),
        (with_data("program", b"\xff"), "must be JSON"),
        (with_meta(I_PROJ, rows=65), "take"),
        (with_meta(I_PROJ, rows=32, columns=128), "instruction"),
        (with_meta(I_PROJ, rows=True), "rows, columns and a scale"),
        (with_meta(I_PROJ, rows=10**30), "take"),
        (with_meta(I_PROJ, scale=0.5), "immediate must be"),
        (with_meta(I_PROJ, scale=-1.0), "scale must be finite and above 0"),
        (with_meta("constants", shape=[10**12, 2]), "takes"),
        (with_meta("constants", shape=[1, 1, 1]), "must have a shape"),
        (with_meta("constants", shape=[2432]), "constants: must be [n, 2]"),
        (with_meta("constants", shape=[640, 3]), "constants"),
    ],
)
def test_consistent_crcs_do_not_help(data: bytes, rule: str) -> None:
    assert rule in refusal(data)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(sorted(container.parse(DATA, "x")[1])),
    st.sampled_from(["rows", "columns", "scale", "shape"]),
    VALUES,
    st.sampled_from([*container.parse(DATA, "x")[0], "x"]),
    VALUES,
    st.booleans(),
)
def test_hostile_headers_never_crash(
    name: str, key: str, value: Any, top: str, other: Any, both: bool
) -> None:
    def change(header: dict[str, Any], sections: dict[str, Section]) -> None:
        s = sections[name]
        sections[name] = Section(name, s.kind, s.data, {**s.meta, key: value})
        if both:
            header[top] = other

    try:
        data = rewritten(change)
    except SetunError:  # the container refuses to hold it
        return
    survives(data)


def test_tokenizer_of_another_model_is_refused() -> None:
    image = compile_checkpoint(load_checkpoint(SMALL_DEMO))
    header, sections = container.parse(image_file.dump(image), "x")
    for text, rule in [(b"{}", "must describe a "), (b"\xff", "must be UTF-8")]:
        sections["tokenizer"] = Section("tokenizer", "json", text)
        line = refusal(container.dump(header, list(sections.values())))
        assert "m.setun tokenizer" in line and rule in line


def decisive(instruction: Instruction) -> list[str]:
    """Fields that change what an instruction does."""
    if instruction.op in (Op.MODEL, Op.END):
        return []
    return [f.name for f in dataclasses.fields(Instruction) if f.name not in ("op", "note")]


def with_field(at: int, name: str) -> Image:
    """The small model with one field of an instruction changed as little as can be."""
    value = getattr(SMALL.program[at], name)
    if isinstance(value, Kernel):
        new: Any = kernels.coded((value.code + 1) % 3)
    elif isinstance(value, float):
        new = np.nextafter(value, 9.0).item()
    else:
        new = not value if isinstance(value, bool) else type(value)((value + 1) % 3)
    program = list(SMALL.program)
    program[at] = dataclasses.replace(program[at], **{name: new})
    return dataclasses.replace(SMALL, program=tuple(program))


def test_hash_names_the_model() -> None:
    assert with_hash(SMALL).model_hash == SMALL.model_hash
    half = {Table.GATES: SMALL.tables[Table.GATES] * np.float32(0.5)}
    first, *rest = SMALL.matrices
    others = [
        dataclasses.replace(SMALL, tables={**SMALL.tables, **half}),
        dataclasses.replace(SMALL, matrices=(rest[0], first, *rest[1:])),
        *(with_field(k, f) for k, i in enumerate(SMALL.program) for f in decisive(i)),
    ]
    hashes = {with_hash(image).model_hash for image in others}
    assert len(hashes) == len(others) and SMALL.model_hash not in hashes
    same = dataclasses.replace(SMALL, name="other", packing="1.6b", layers=())
    assert with_hash(same).model_hash == SMALL.model_hash
    assert SMALL.program[0].op is Op.MODEL
