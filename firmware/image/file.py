"""The image file of a model: what `container` frames, with the meaning of every section.

========= ======== ======================================================================
section   kind     content
========= ======== ======================================================================
program   program  canonical JSON, one object an instruction: the fields that are not 0
constants float32  pairs [n, 2]: outer gain, folded gain
embedding float32  [vocabulary, hidden]
gates     float32  1 - lower bound [layers, width]
tokenizer json     tokenizer.json, byte for byte; left out when the checkpoint has none
others    ternary  one matrix each, in execution order: its codes, row after row, packed
                   as the header says
========= ======== ======================================================================

A float32 section's meta has its `shape`, a ternary one's `rows`, `columns` and `scale`. The
header has `format`, `generator`, `model`, `model_hash`, `numerics` and `packing`.
"""

import json
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import setun
from setun.firmware.config import PACKINGS
from setun.firmware.errors import SetunError
from setun.firmware.image import container
from setun.firmware.image.container import Section
from setun.firmware.models.checkpoint import MODEL_TYPE, ModelConfig, parse_config
from setun.firmware.models.tokenizer import Tokenizer
from setun.firmware.numerics.options import Numerics
from setun.firmware.numerics.ternary import pack_2b, pack_trits, unpack_2b, unpack_trits
from setun.firmware.program.compiler import Image, Matrix
from setun.firmware.program.isa import Instruction, Kernel, MeanSquare, Op
from setun.firmware.program.verify import verify

FORMAT = 1
_ARRAYS = ("constants", "embedding", "gates")
_HEADER = {"format", "generator", "model", "model_hash", "numerics", "packing"}
_ENUMS: dict[str, type[IntEnum]] = {"op": Op, "kernel": Kernel, "mean_square": MeanSquare}
_FLOATS = {(Op.SCALARS, "constants"), (Op.SCALARS, "immediate")}
_FLOATS |= {(Op.QUANTISE, "immediate"), (Op.MATVEC, "immediate")}


@dataclass(frozen=True)
class ImageFile:
    """A verified image file."""

    image: Image
    numerics: Numerics
    """What the file was imported for: the default where nothing else is asked for."""
    generator: str
    """Who wrote the file, such as "setun 0.1.0"."""
    sections: tuple[Section, ...]
    """In file order."""


def save(image: Image, path: Path, numerics: Numerics | None = None) -> None:
    """Write an image file; on failure whatever was at `path` stays as it was.

    Equal images give equal bytes.

    Raises
    ------
    SetunError
        The image is not one that `load` would take, or `path` cannot be written.
    """
    container.write_atomically(path, dump(image, numerics))


def load(path: Path) -> Image:
    """The image of a file, everything in it verified.

    Raises
    ------
    SetunError
        The file is damaged, truncated, of another version, or inconsistent.
    """
    return read(path).image


def read(path: Path) -> ImageFile:
    """`load` with what else the file says."""
    return _decode(*container.read(path), str(path))


def parse(data: bytes, source: str = "image") -> ImageFile:
    """`read` from bytes; `source` names them in errors."""
    return _decode(*container.parse(data, source), source)


def dump(image: Image, numerics: Numerics | None = None) -> bytes:
    """The bytes that `save` writes."""
    verify(image, "image")
    header = {
        "format": FORMAT,
        "generator": f"setun {setun.__version__}",
        "model": asdict(image.config),
        "model_hash": image.model_hash,
        "numerics": (numerics or Numerics()).to_dict(),
        "packing": image.packing,
    }
    pack = pack_2b if image.packing == "2b" else pack_trits
    sections = [Section("program", "program", _encode_program(image.program))]
    for name, values in zip(_ARRAYS, (image.pairs, image.embedding, image.gates), strict=True):
        data = values.astype("<f4").tobytes()
        sections.append(Section(name, "float32", data, {"shape": list(values.shape)}))
    if image.tokenizer_json is not None:
        Tokenizer.from_json(image.tokenizer_json, image.config.vocab_size)
        sections.append(Section("tokenizer", "json", image.tokenizer_json.encode()))
    for m in image.matrices:
        rows, columns = m.codes.shape
        meta = {"rows": rows, "columns": columns, "scale": m.scale}
        sections.append(Section(m.name, "ternary", pack(m.codes.ravel()).tobytes(), meta))
    return container.dump(header, sections)


def _decode(header: dict[str, Any], sections: dict[str, Section], source: str) -> ImageFile:
    if header.get("format") != FORMAT or type(header["format"]) is not int:
        found = str(header.get("format"))[:40]
        raise SetunError(source, f"image format must be {FORMAT}", found, "import it again")
    if set(header) != _HEADER:
        odd = sorted(set(header) ^ _HEADER)[0]
        raise SetunError(source, f"header has {', '.join(sorted(_HEADER))}", f"{odd[:40]!a}")
    for name in ("generator", "model_hash", "packing"):
        if not isinstance(header[name], str) or not header[name].isprintable():
            raise SetunError(f"{source} {name}", "must be a line of text")
    if header["packing"] not in PACKINGS:
        rule = f"must be one of {', '.join(PACKINGS)}"
        raise SetunError(f"{source} packing", rule, header["packing"][:40])
    if not isinstance(header["numerics"], dict):
        raise SetunError(f"{source} numerics", "must be an object")
    rest = dict(sections)
    program = _take(rest, "program", "program", source)
    arrays = [_array(_take(rest, name, "float32", source), source) for name in _ARRAYS]
    config = _config(header["model"], source)
    image = Image(
        config=config,
        tokenizer_json=_tokenizer(rest, config, source),
        matrices=tuple(_matrix(s, header["packing"], source) for s in rest.values()),
        pairs=arrays[0],
        embedding=arrays[1],
        gates=arrays[2],
        program=_decode_program(program.data, f"{source} program"),
        packing=header["packing"],
        model_hash=header["model_hash"],
    )
    verify(image, source)
    numerics = Numerics.from_dict(header["numerics"], f"{source} numerics")
    return ImageFile(image, numerics, header["generator"], tuple(sections.values()))


def _take(sections: dict[str, Section], name: str, kind: str, source: str) -> Section:
    section = sections.pop(name, None)
    if section is None or section.kind != kind:
        found = "none" if section is None else f"kind {section.kind}"
        raise SetunError(f"{source} section {name}", f"must be there, of kind {kind}", found)
    return section


def _config(model: object, source: str) -> ModelConfig:
    names = {f.name for f in fields(ModelConfig)}
    if not isinstance(model, dict) or set(model) != names:
        raise SetunError(f"{source} model", f"has {', '.join(sorted(names))}")
    try:
        return parse_config({"model_type": MODEL_TYPE, **model})
    except SetunError as error:
        thing = error.thing.removeprefix("config.json ")
        raise SetunError(f"{source} model {thing}", error.rule, error.value) from error


def _array(section: Section, source: str) -> NDArray[np.float32]:
    thing, shape = f"{source} section {section.name}", section.meta.get("shape")
    if not (isinstance(shape, list) and len(shape) == 2 and all(_is_count(n) for n in shape)):
        raise SetunError(thing, "must have a shape [n, m]", str(shape)[:40])
    if len(section.data) != 4 * shape[0] * shape[1]:
        rule = f"shape {shape} takes {4 * shape[0] * shape[1]} bytes"
        raise SetunError(thing, rule, len(section.data))
    return np.frombuffer(section.data, "<f4").astype(np.float32, copy=False).reshape(shape)


def _matrix(section: Section, packing: str, source: str) -> Matrix:
    thing, meta = f"{source} section {section.name}", section.meta
    if section.kind != "ternary":
        raise SetunError(thing, "must be known or of kind ternary", section.kind)
    if not (
        _is_count(meta.get("rows"))
        and _is_count(meta.get("columns"))
        and type(meta.get("scale")) is float
    ):
        raise SetunError(thing, "must have rows, columns and a scale")
    rows, columns, scale = meta["rows"], meta["columns"], meta["scale"]
    per_byte, unpack = (4, unpack_2b) if packing == "2b" else (5, unpack_trits)
    length = -(-rows * columns // per_byte)
    if len(section.data) != length:
        rule = f"{rows}x{columns} codes take {length} bytes"
        raise SetunError(thing, rule, len(section.data))
    try:
        codes = unpack(np.frombuffer(section.data, np.uint8), rows * columns)
    except SetunError as error:
        raise SetunError(thing, error.rule, error.value) from error
    return Matrix(section.name, codes.reshape(rows, columns), scale)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _tokenizer(sections: dict[str, Section], config: ModelConfig, source: str) -> str | None:
    if "tokenizer" not in sections:
        return None
    section = _take(sections, "tokenizer", "json", source)
    try:
        text = section.data.decode("utf-8")
        Tokenizer.from_json(text, config.vocab_size)
    except UnicodeDecodeError as error:
        raise SetunError(f"{source} tokenizer", "must be UTF-8", error) from error
    except SetunError as error:
        raise SetunError(f"{source} tokenizer", error.rule, error.value) from error
    return text


def _encode_program(program: tuple[Instruction, ...]) -> bytes:
    lines = []
    for instruction in program:
        shown: dict[str, Any] = {}
        for f in fields(Instruction):
            value = getattr(instruction, f.name)
            if f.name == "op" or value != f.default:
                shown[f.name] = value.name if isinstance(value, IntEnum) else value
        lines.append(json.dumps(shown, separators=(",", ":"), allow_nan=False))
    return ("[\n" + ",\n".join(lines) + "\n]\n").encode()


def _decode_program(data: bytes, thing: str) -> tuple[Instruction, ...]:
    try:
        listed = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SetunError(thing, "must be JSON", error) from error
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise SetunError(thing, "must be a list of instructions")
    program = tuple(_instruction(e, f"{thing} instruction {k}") for k, e in enumerate(listed))
    if not program or _encode_program(program) != data:
        raise SetunError(thing, "must be instructions in canonical form")
    return program


def _instruction(entry: dict[str, Any], thing: str) -> Instruction:
    defaults: dict[str, Any] = {f.name: f.default for f in fields(Instruction)}
    if unknown := [name for name in entry if name not in defaults]:
        raise SetunError(thing, "unknown field", f"{unknown[0][:40]!a}")
    values: dict[str, Any] = {}
    for name, value in entry.items():
        if name in _ENUMS:
            members = _ENUMS[name].__members__
            if not isinstance(value, str) or value not in members:
                rule = f"{name} must be one of {', '.join(members)}"
                raise SetunError(thing, rule, f"{str(value)[:40]!a}")
            value = members[value]
        values[name] = value
    if "op" not in values:
        raise SetunError(thing, "needs an op")
    for name, value in values.items():
        if name in _ENUMS:
            continue
        wanted = float if (values["op"], name) in _FLOATS else type(defaults[name])
        if type(value) is not wanted:
            raise SetunError(thing, f"{name} must be of type {wanted.__name__}")
        fits = value.isprintable() if isinstance(value, str) else 0 <= value < 1 << 32
        if not fits:
            raise SetunError(thing, f"{name} must be a line of text or fit 32 bits")
    return Instruction(**values)
