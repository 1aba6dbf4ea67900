"""The image file: exact round trips; no damaged or inconsistent file is ever accepted."""

import dataclasses
import json
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.folders import SMALL_DEMO, VECTORS
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

MODELS = [VECTORS / "a_h64_l2", VECTORS / "d_h64_l3_nolb", SMALL_DEMO]
SMALL = compile_checkpoint(load_checkpoint(MODELS[0]))
DATA = image_file.dump(SMALL)
DEFAULTS = {
    f.name: f.default.name if isinstance(f.default, IntEnum) else f.default
    for f in dataclasses.fields(Instruction)
}


def assert_equal(a: Image, b: Image) -> None:
    for field in dataclasses.fields(Image):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if field.name == "tables":
            assert list(x) == list(y)
            for table in x:
                assert x[table].dtype == y[table].dtype and np.array_equal(x[table], y[table])
        elif field.name == "matrices":
            for m, n in zip(x, y, strict=True):
                assert (m.name, m.scale, m.codes().dtype) == (n.name, n.scale, n.codes().dtype)
                assert np.array_equal(m.codes(), n.codes())
        else:
            assert x == y, field.name


def refusal(data: bytes) -> str:
    with pytest.raises(SetunError) as caught:
        image_file.parse(data, "m.setun")
    line = str(caught.value)
    assert line.startswith("m.setun") and "\n" not in line and len(line) < 600
    return line


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


def rewritten(
    change: Callable[[dict[str, Any], dict[str, Section]], None],
) -> bytes:
    """The small image changed by a hostile writer who knows how to make CRCs."""
    header, sections = container.parse(DATA, "x")
    header = json.loads(json.dumps(header))
    change(header, sections)
    return container.dump(header, list(sections.values()))


def with_program(edit: Callable[[list[dict[str, Any]]], None]) -> bytes:
    def change(header: dict[str, Any], sections: dict[str, Section]) -> None:
        program = json.loads(bytes(sections["program"].data))
        edit(program)
        for i in program:
            for name, default in DEFAULTS.items():  # the order and the omissions of the format
                if isinstance(i, dict) and name in i and (value := i.pop(name)) != default:
                    i[name] = value
        lines = ",\n".join(json.dumps(i, separators=(",", ":")) for i in program)
        data = f"[\n{lines}\n]\n".encode()
        sections["program"] = Section("program", "program", data)

    return rewritten(change)


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


def edit(at: int, **fields: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda program: program[at].update(fields)


def drop(at: int) -> Callable[[list[dict[str, Any]]], None]:
    return lambda program: program.pop(at) and None


def streamed(matvec: int, quantise: int) -> Callable[[list[dict[str, Any]]], None]:
    def change(program: list[dict[str, Any]]) -> None:
        program[matvec]["feeds"] = program[quantise]["stream"] = True

    return change


def unstreamed(program: list[dict[str, Any]]) -> None:
    """A quantiser that neither waits nor streams."""
    program[8]["feeds"] = program[9]["stream"] = False


def streamed_behind_another(program: list[dict[str, Any]]) -> None:
    """Two quantised vectors wait before the matvec that feeds."""
    program.insert(8, dict(program[7]))


def overtaken(program: list[dict[str, Any]]) -> None:
    """i writes x, which f's quantiser still has to read."""
    program[4], program[5] = program[5], {**program[4], "dst": 0}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (edit(3, op="JUMP"), "op must be one of"),
        (edit(3, speed=1), "'speed'"),
        (edit(3, n="64"), "n must be of type int"),
        (edit(3, sync=1), "sync must be of type bool"),
        (edit(3, immediate=1), "immediate must be of type float"),
        (edit(3, n=1 << 40), "fit 32 bits"),
        (edit(3, n=1_048_576), "n must fit 20 bits"),
        (edit(3, note="a\nb"), "line of text"),
        (edit(3, note=5), "note must be of type str"),
        (edit(3, immediate=float("inf")), "fit 32 bits"),
        (edit(3, immediate=0.5), "immediate must be 1/64"),
        (edit(3, constants=7), "multiples of 32"),
        (edit(3, constants=1 << 20), "multiples of 32"),
        (edit(3, src=64), "nobody wrote 64 elements at v[64]"),
        (edit(3, n=63), "nobody wrote 63"),
        (edit(3, mean_square="ARRAY"), "no matvec with a GLU"),
        (edit(4, dst=1 << 15), "at the start of a region"),
        (edit(4, dst=65), "at the start of a region"),
        (edit(4, dst=0, kernel="SAMPLE"), "must be in the head"),
        (edit(4, keep=True), "no vector waits when one streams"),
        (lambda p: p.insert(-3, {**p[14], "stream": False, "sync": True}), "columns; found"),
        (edit(4, stat_shift=90), "stat_shift must fit 5 bits"),
        (edit(4, kernel="RELU"), "kernel must be one of COPY, SILU"),
        (edit(4, sync=True), "has no field sync"),
        (edit(3, dst=64), "has no field dst"),
        (edit(4, feeds=True), "feeds and stream go together"),
        (edit(5, stream=True), "feeds and stream go together"),
        (edit(8, feeds=False), "feeds and stream go together"),
        (edit(9, stream=False, sync=True), "feeds and stream go together"),
        (edit(9, src=0), "what the matvec before makes"),
        (streamed(6, 7), "only a stored vector feeds"),
        (streamed(4, 5), "what the matvec before makes"),
        (streamed_behind_another, "no vector waits when one streams"),
        (unstreamed, "may not be stored yet"),
        (edit(4, dst=0), "may not be stored yet"),
        (overtaken, "may not be quantised yet"),
        (edit(6, dst=128), "must be a region of the state"),
        (edit(6, dst=32), "must be a region of the state"),
        (edit(2, immediate=31), "rows take 32 pairs"),
        (edit(2, n=32), "must have 64 elements"),
        (edit(2, constants=3), "behind the gains"),
        (edit(1, constants=2.0), "between 0 and 1"),
        (edit(0, src=1), "model hash"),
        (drop(0), "starts with MODEL"),
        (drop(1), "SCALARS come first"),
        (drop(2), "nobody wrote"),
        (drop(3), "nothing was quantised"),
        (drop(4), "instruction 5 MATVEC"),
        (drop(-1), "two ENDs"),
        (drop(-2), "every quantised vector is used"),
        (lambda p: p.append({"op": "END"}), "nothing follows"),
        (lambda p: p.insert(3, p[3]), "no vector waits when one streams"),
        (lambda p: p.insert(5, p[0]), "starts with MODEL"),
        (lambda p: p.clear(), "canonical"),
        (lambda p: p[3].pop("op"), "needs an op"),
        (lambda p: p.__setitem__(3, 5), "list of instructions"),  # type: ignore[arg-type, call-overload]
    ],
)
def test_programs_the_chip_cannot_run(change: Any, rule: str) -> None:
    assert rule in refusal(with_program(change))


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 1 << 33),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["COPY", "MLGRU", "GLU", "ADD", "SAMPLE", "END", "EMBED", "OWN", "ARRAY"]),
    st.lists(st.integers(0, 3), max_size=2),
)
FIELDS = st.sampled_from([f.name for f in dataclasses.fields(Instruction)])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), FIELDS, VALUES), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=2),
)
def test_hostile_programs_never_crash(
    edits: list[tuple[int, str, Any]], swaps: list[tuple[int, int]]
) -> None:
    def change(program: list[dict[str, Any]]) -> None:
        for at, name, value in edits:
            program[at % len(program)][name] = value
        for a, b in swaps:
            a, b = a % len(program), b % len(program)
            program[a], program[b] = program[b], program[a]

    survives(with_program(change))


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


def survives(data: bytes) -> None:
    """Either refused in one line, or what was loaded is worth its own file."""
    try:
        file = image_file.parse(data, "m.setun")
    except SetunError as error:
        assert "\n" not in str(error)
    else:
        assert_equal(image_file.parse(image_file.dump(file.image)).image, file.image)


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
