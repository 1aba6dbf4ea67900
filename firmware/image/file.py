"""The image file of a model: what `container` frames, with the meaning of every section.

========= ======== ======================================================================
section   kind     content
========= ======== ======================================================================
program   program  canonical JSON, one object an instruction: the fields that are not 0
tokenizer json     tokenizer.json, byte for byte; left out when the checkpoint has none
chat      json     chat template, and the texts of the tokens that begin and end a text; likewise
constants float32  a table of `setun.firmware.program.isa.Table`, and so are embedding and gates
others    ternary  one matrix each, in execution order: its codes, row after row, packed
                   as the header says, each row in whole bytes
          5t       likewise, of five-trit weights: a row's levels -121 to 121, a signed
                   byte each, and behind them its scale, a float32
          grouped  likewise, of ternary weights with a scale for every 128 columns: a row's
                   codes as of a ternary one, a byte for each scale, a float32 that they
                   are multiples of; see `setun.firmware.numerics.grouped`
========= ======== ======================================================================

A float32 section's meta has its `shape`, a ternary one's `rows`, `columns` and `scale`, the
others' `rows` and `columns`. The header has `format`, `generator`, `name`, `model_hash`,
`vocab_size`, `numerics`, `packing`, and as lists of [name, start, size] `vectors`, `state` and
`layers`; where the model ends its texts also `end_tokens`, a list of ids; where it attends, also
`cache`, regions likewise, and `positions`, how many.

Files of format 1 are read too, see `format1`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

import setun
from setun.firmware.config import PACKINGS
from setun.firmware.errors import SetunError
from setun.firmware.image import container, format1
from setun.firmware.image.container import Section
from setun.firmware.image.image import Floats, Image, MemoryMap, Region
from setun.firmware.image.matrix_sections import described, is_count, read_matrix, view
from setun.firmware.models.chat import Chat
from setun.firmware.models.tokenizer import Tokenizer
from setun.firmware.numerics.arithmetic import MeanSquare
from setun.firmware.numerics.options import Numerics
from setun.firmware.outputs import Data
from setun.firmware.program import kernels
from setun.firmware.program.isa import Instruction, Kind, Op, Table
from setun.firmware.program.verify import verify

FORMAT = 2
READ = (format1.FORMAT, FORMAT)
INSTRUCTION_SETS = {format1.FORMAT: 1, FORMAT: 1}
"""What programs in files of each format are of: `setun.firmware.program.isa.VERSION`."""
_REGIONS = ("vectors", "state", "layers")
_CACHE, _POSITIONS = "cache", "positions"
_ENDS = "end_tokens"
_OPTIONAL = {_ENDS, _CACHE, _POSITIONS}
_LINES = ("generator", "name", "model_hash", "packing")
_HEADER = {"format", "vocab_size", "numerics", *_LINES, *_REGIONS}
_FLOATS = {(op, field.name) for op in Op for field in op.fields if field.kind is Kind.FLOAT}


@dataclass(frozen=True)
class ImageFile:
    """A verified image file."""

    image: Image
    numerics: Numerics
    """What the file was imported for: the default where nothing else is asked for."""
    format: int
    """One of `READ`; an import renews one that is not the last."""
    generator: str
    """Who wrote the file, such as "setun 0.1.0"."""
    sections: tuple[Section, ...]
    """In file order."""


def save(image: Image, path: Path, numerics: Numerics | None = None) -> int:
    """Write an image file, and how many bytes; on failure whatever was at `path` stays as it was.

    Equal images give equal bytes.

    Raises
    ------
    SetunError
        The image is not one that `load` would take, or `path` cannot be written.
    """
    header, sections = _described(image, numerics)
    return container.write(path, header, sections)


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


def parse(data: Data, source: str = "image") -> ImageFile:
    """`read` from bytes; `source` names them in errors."""
    return _decode(*container.parse(data, source), source)


def dump(image: Image, numerics: Numerics | None = None) -> bytes:
    """The bytes that `save` writes."""
    return container.dump(*_described(image, numerics))


def _described(image: Image, numerics: Numerics | None) -> tuple[dict[str, Any], list[Section]]:
    """Header and sections of a verified image's file."""
    verify(image, "image")
    header = {
        "format": FORMAT,
        "generator": f"setun {setun.__version__}",
        "name": image.name,
        "model_hash": image.model_hash,
        "vocab_size": image.vocab_size,
        "numerics": (numerics or Numerics()).to_dict(),
        "packing": image.packing,
        "vectors": _listed(image.memory.vectors),
        "state": _listed(image.memory.state),
        "layers": _listed(image.layers),
    }
    if image.end_tokens:
        header[_ENDS] = list(image.end_tokens)
    if image.memory.cache:
        header |= {_CACHE: _listed(image.memory.cache), _POSITIONS: image.memory.positions}
    sections = [Section("program", "program", _encode_program(image.program))]
    for name in sorted(image.tables):
        values = image.tables[name]
        meta: dict[str, Any] = {"shape": list(values.shape)}
        sections.append(Section(name, "float32", view(values.astype("<f4", copy=False)), meta))
    if image.tokenizer_json is not None:
        Tokenizer.from_json(image.tokenizer_json, image.vocab_size)
        sections.append(Section("tokenizer", "json", image.tokenizer_json.encode()))
    if image.chat is not None:
        sections.append(Section("chat", "json", image.chat.to_json().encode()))
    sections += [described(matrix, image.packing) for matrix in image.matrices]
    return header, sections


def _listed(regions: Sequence[Region]) -> list[list[str | int]]:
    return [[r.name, r.start, r.size] for r in regions]


def _decode(header: dict[str, Any], sections: dict[str, Section], source: str) -> ImageFile:
    written = header.get("format")
    if written not in READ or type(written) is not int:
        rule = f"image format must be {FORMAT} or {format1.FORMAT}"
        raise SetunError(source, rule, str(written)[:40], "import it again")
    old = written == format1.FORMAT
    known = format1.HEADER if old else _HEADER
    if set(header) - _OPTIONAL != known:
        odd = sorted(set(header) - _OPTIONAL ^ known)[0]
        raise SetunError(source, f"header has {', '.join(sorted(known))}", f"{odd[:40]!a}")
    for name in _LINES:
        line = header.get(name, "")
        if not isinstance(line, str) or (line and not line.isprintable()):
            raise SetunError(f"{source} {name}", "must be a line of text")
    if header["packing"] not in PACKINGS:
        rule = f"must be one of {', '.join(PACKINGS)}"
        raise SetunError(f"{source} packing", rule, header["packing"][:40])
    if not isinstance(header["numerics"], dict):
        raise SetunError(f"{source} numerics", "must be an object")
    image = _image(header, dict(sections), old, source)
    if old:
        image = format1.converted(image, header["model"], source)
    verify(image, source)
    numerics = Numerics.from_dict(header["numerics"], f"{source} numerics")
    return ImageFile(image, numerics, written, header["generator"], tuple(sections.values()))


def _image(header: dict[str, Any], rest: dict[str, Section], flat: bool, source: str) -> Image:
    """What a file says, as it says it; of format 1 (`flat`) without what its header lacks."""
    program = _take(rest, "program", "program", source)
    tokenizer = _take(rest, "tokenizer", "json", source) if "tokenizer" in rest else None
    chat = _take(rest, "chat", "json", source) if "chat" in rest else None
    tables = {Table(n): _array(rest.pop(n), source) for n in list(rest) if n in set(Table)}
    vocab_size = header.get("vocab_size", len(tables.get(Table.EMBEDDING, ())))
    if not is_count(vocab_size):
        raise SetunError(f"{source} vocab_size", "must be a whole number above 0")
    regions = {name: _regions(header.get(name, []), f"{source} {name}") for name in _REGIONS}
    return Image(
        name=header.get("name", ""),
        vocab_size=vocab_size,
        program=_decode_program(bytes(program.data), f"{source} program"),
        layers=regions["layers"],
        matrices=tuple(read_matrix(s, header["packing"], flat, source) for s in rest.values()),
        tables=tables,
        memory=MemoryMap(
            regions["vectors"],
            regions["state"],
            _regions(header.get(_CACHE, []), f"{source} {_CACHE}"),
            _positions(header.get(_POSITIONS, 0), source),
        ),
        tokenizer_json=_tokenizer(tokenizer, vocab_size, source),
        packing=header["packing"],
        model_hash=header["model_hash"],
        end_tokens=_end_tokens(header.get(_ENDS, []), vocab_size, source),
        chat=None if chat is None else Chat.from_json(_text(chat, source)),
    )


def _positions(value: object, source: str) -> int:
    if type(value) is not int or value < 0:
        raise SetunError(f"{source} {_POSITIONS}", "must be a whole number", str(value)[:40])
    return value


def _end_tokens(listed: object, vocab_size: int, source: str) -> tuple[int, ...]:
    if not isinstance(listed, list) or not all(type(token) is int for token in listed):
        raise SetunError(f"{source} {_ENDS}", "must be a list of token ids")
    if listed != sorted(set(listed)) or not all(0 <= token < vocab_size for token in listed):
        rule = f"must be different ids below {vocab_size}, in order"
        raise SetunError(f"{source} {_ENDS}", rule, str(listed)[:40])
    return tuple(listed)


def _regions(listed: object, thing: str) -> tuple[Region, ...]:
    if not isinstance(listed, list) or not all(_is_region(entry) for entry in listed):
        raise SetunError(thing, "must be a list of [name, start, size]")
    return tuple(Region(*entry) for entry in listed)


def _is_region(entry: object) -> bool:
    return (
        isinstance(entry, list)
        and [type(value) for value in entry] == [str, int, int]
        and entry[0].isprintable()
    )


def _take(sections: dict[str, Section], name: str, kind: str, source: str) -> Section:
    section = sections.pop(name, None)
    if section is None or section.kind != kind:
        found = "none" if section is None else f"kind {section.kind}"
        raise SetunError(f"{source} section {name}", f"must be there, of kind {kind}", found)
    return section


def _array(section: Section, source: str) -> Floats:
    thing, shape = f"{source} section {section.name}", section.meta.get("shape")
    if section.kind != "float32":
        raise SetunError(thing, "must be of kind float32", f"kind {section.kind}")
    if not (isinstance(shape, list) and len(shape) in (1, 2) and all(map(is_count, shape))):
        raise SetunError(thing, "must have a shape [n] or [n, m]", str(shape)[:40])
    if len(section.data) != 4 * math.prod(shape):
        raise SetunError(
            thing, f"shape {shape} takes {4 * math.prod(shape)} bytes", len(section.data)
        )
    return np.frombuffer(section.data, "<f4").astype(np.float32, copy=False).reshape(shape)


def _tokenizer(section: Section | None, vocab_size: int, source: str) -> str | None:
    if section is None:
        return None
    text = _text(section, source)
    try:
        Tokenizer.from_json(text, vocab_size)
    except SetunError as error:
        raise SetunError(f"{source} tokenizer", error.rule, error.value) from error
    return text


def _text(section: Section, source: str) -> str:
    try:
        return bytes(section.data).decode("utf-8")
    except UnicodeDecodeError as error:
        raise SetunError(f"{source} {section.name}", "must be UTF-8", error) from error


def _encode_program(program: tuple[Instruction, ...]) -> bytes:
    lines = []
    for instruction in program:
        shown: dict[str, Any] = {}
        for f in fields(Instruction):
            value = getattr(instruction, f.name)
            if f.name == "op" or value != f.default:
                shown[f.name] = value.name if f.name in _named() else value
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


def _named() -> dict[str, Mapping[str, Any]]:
    """Fields that a program has by name, and what each name stands for."""
    return {
        "op": Op.__members__,
        "kernel": {kernel.name: kernel for kernel in kernels.KERNELS},
        "mean_square": MeanSquare.__members__,
    }


def _instruction(entry: dict[str, Any], thing: str) -> Instruction:
    defaults: dict[str, Any] = {f.name: f.default for f in fields(Instruction)}
    if unknown := [name for name in entry if name not in defaults]:
        raise SetunError(thing, "unknown field", f"{unknown[0][:40]!a}")
    values: dict[str, Any] = {}
    known = _named()
    for name, value in entry.items():
        if name in known:
            members = known[name]
            if not isinstance(value, str) or value not in members:
                rule = f"{name} must be one of {', '.join(members)}"
                raise SetunError(thing, rule, f"{str(value)[:40]!a}")
            value = members[value]
        values[name] = value
    if "op" not in values:
        raise SetunError(thing, "needs an op")
    for name, value in values.items():
        if name in known:
            continue
        wanted = float if (values["op"], name) in _FLOATS else type(defaults[name])
        if type(value) is not wanted:
            raise SetunError(thing, f"{name} must be of type {wanted.__name__}")
        fits = value.isprintable() if isinstance(value, str) else 0 <= value < 1 << 32
        if not fits:
            raise SetunError(thing, f"{name} must be a line of text or fit 32 bits")
    return Instruction(**values)
