"""The image file: a JSON header and binary sections, every byte of it checked.

========  ======================================================================
offset    content, little endian
========  ======================================================================
0         magic ``\\x93SETUN\\r\\n`` (text-mode transfers and 7-bit links break it)
8         u32 format version
12        u32 length of the JSON
16        u64 length of the file
24        u32 CRC-32 of the JSON
28        u32 CRC-32 of bytes 0 to 27
32        JSON, UTF-8, canonical: ``{"header": {...}, "sections": [...]}``
...       sections in order, each at the next multiple of 64, zeros between
========  ======================================================================

A section's entry has its name, kind, offset, length, crc32 and meta. The file ends with
the last section's last byte. Equal content gives equal bytes.
"""

import json
import mmap
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from setun.firmware.errors import SetunError
from setun.firmware.file_kinds import LENGTH, refuse_other_kind
from setun.firmware.outputs import Data, write_output

MAGIC = b"\x93SETUN\r\n"
VERSION = 1
IMAGE = "must be a Setun image"
ALIGNMENT = 64
JSON_LIMIT = 16 << 20
"""Largest JSON part, in bytes."""

_PREFIX = struct.Struct("<8sIIQI")
_START = _PREFIX.size + 4
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,63}")
_ENTRY_KEYS = {"name", "kind", "offset", "length", "crc32", "meta"}


@dataclass(frozen=True)
class Section:
    """One named run of bytes; `kind` tells readers what it is, `meta` how to read it."""

    name: str
    """1 to 64 characters of ``A-Z a-z 0-9 _ . -``, unique in the file; likewise `kind`."""
    kind: str
    data: Data
    meta: dict[str, Any] = field(default_factory=dict)
    """Anything JSON can hold."""


def dump(header: dict[str, Any], sections: Sequence[Section]) -> bytes:
    """The file as bytes: all `parts`."""
    return b"".join(parts(header, sections))


def parts(header: dict[str, Any], sections: Sequence[Section]) -> Iterator[Data]:
    """The file, part after part; sections are not copied.

    Raises
    ------
    SetunError
        Section names that are not unique or not plain, a header that JSON cannot hold
        unchanged (NaN, keys other than strings, tuples), or one too large.
    """
    text = b""
    end = -1
    while len(text) != end:  # offsets depend on the JSON's length and the other way round
        end = len(text)
        text = _canonical(_describe(header, sections, _START + end))
    if len(text) > JSON_LIMIT:
        raise SetunError("image header", f"takes at most {JSON_LIMIT} bytes", len(text))
    _check_table(_parse(text, "image header"), _START + len(text), "image header")

    total = _START + len(text)
    for section in sections:
        total += -total % ALIGNMENT + len(section.data)
    prefix = _PREFIX.pack(MAGIC, VERSION, len(text), total, zlib.crc32(text))
    head = prefix + zlib.crc32(prefix).to_bytes(4, "little") + text
    return _joined(head, sections)


def _joined(head: bytes, sections: Sequence[Section]) -> Iterator[Data]:
    end = len(head)
    yield head
    for section in sections:
        yield bytes(-end % ALIGNMENT)
        yield section.data
        end += -end % ALIGNMENT + len(section.data)


def parse(data: Data, source: str) -> tuple[dict[str, Any], dict[str, Section]]:
    """Inverse of `dump`; `source` names the data in errors, and sections are views on it.

    Any single flipped bit, any truncation and any appended byte is refused.

    Raises
    ------
    SetunError
        The data is anything but what `dump` writes.
    """
    data = memoryview(data)
    if data[: len(MAGIC)] != MAGIC:
        refuse_other_kind(source, IMAGE, bytes(data[:LENGTH]))
        found = f"starts with {data[:8].hex() or '-'}"
        raise SetunError(source, IMAGE, found, "setun import makes one of a checkpoint's folder")
    if len(data) < _START:
        raise SetunError(source, f"must have {_START} bytes at least", len(data), "truncated")
    _, version, length, total, crc = _PREFIX.unpack_from(data)
    if zlib.crc32(data[: _PREFIX.size]) != int.from_bytes(data[_PREFIX.size : _START], "little"):
        raise SetunError(source, "first 32 bytes must match their CRC", fix="the file is corrupt")
    if version != VERSION:
        raise SetunError(source, f"format version must be {VERSION}", version, "import it again")
    if total != len(data):
        fix = "truncated" if total > len(data) else "something was appended"
        raise SetunError(source, f"must have {total} bytes", len(data), fix)
    if length > JSON_LIMIT or _START + length > total:
        raise SetunError(source, "header must lie within the file", f"{length} bytes")
    text = bytes(data[_START : _START + length])
    if zlib.crc32(text) != crc:
        raise SetunError(source, "header must match its CRC", fix="the file is corrupt")
    content = _parse(text, source)
    end = _check_table(content, _START + length, source)
    if end != total:
        raise SetunError(source, f"must end with its last section, at {end}", total)
    return content["header"], _sections(content["sections"], data, _START + length, source)


def write(path: Path, header: dict[str, Any], sections: Sequence[Section]) -> int:
    """Write an image, and how many bytes; on failure whatever was at `path` stays as it was."""
    size = 0

    def counted() -> Iterator[Data]:
        nonlocal size
        for part in parts(header, sections):
            size += len(part)
            yield part

    write_output(path, counted())
    return size


def read(path: Path) -> tuple[dict[str, Any], dict[str, Section]]:
    """Read an image: its header and its sections by name, in file order.

    The file is mapped: sections are views on it, and take memory while they are used. It must stay
    as it is for so long; `write` puts another in its place and leaves it.
    """
    try:
        if not path.is_file():
            found = "something else" if path.exists() else "no such file"
            fix = "setun import makes one of a checkpoint or a shipped model"
            raise SetunError(str(path), "an image is a file", found, fix)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b""
    except (OSError, ValueError) as error:
        raise SetunError(str(path), "must be readable", error) from error
    return parse(memoryview(data), str(path))


def _describe(header: dict[str, Any], sections: Sequence[Section], end: int) -> dict[str, Any]:
    entries = []
    for section in sections:
        offset = end + -end % ALIGNMENT
        end = offset + len(section.data)
        entries.append(
            {
                "name": section.name,
                "kind": section.kind,
                "offset": offset,
                "length": len(section.data),
                "crc32": zlib.crc32(section.data),
                "meta": section.meta,
            }
        )
    content = {"header": header, "sections": entries}
    try:
        faithful = json.loads(_canonical(content)) == content
    except (TypeError, ValueError, RecursionError) as error:
        raise SetunError("image header", "must be plain JSON", error) from error
    if not faithful:
        raise SetunError("image header", "must be plain JSON", "a tuple or a key not a string")
    return content


def _canonical(content: Any) -> bytes:
    text = json.dumps(
        content, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )
    return text.encode("utf-8")


def _parse(text: bytes, source: str) -> dict[str, Any]:
    """The JSON; being canonical excludes doubled keys, NaN and lone surrogates."""
    try:
        content = json.loads(text)
        canonical = _canonical(content) == text
    except (ValueError, RecursionError) as error:
        raise SetunError(source, "header must be JSON", error) from error
    if not canonical or not isinstance(content, dict) or set(content) != {"header", "sections"}:
        raise SetunError(source, "header must be the canonical JSON of an image")
    if not isinstance(content["header"], dict) or not isinstance(content["sections"], list):
        raise SetunError(source, "header must hold an object and a list of sections")
    return content


def _check_table(content: dict[str, Any], end: int, source: str) -> int:
    """Check names and layout of the section table; returns where the file must end."""
    names = set()
    for entry in content["sections"]:
        if not isinstance(entry, dict) or set(entry) != _ENTRY_KEYS:
            raise SetunError(source, f"a section has {', '.join(sorted(_ENTRY_KEYS))}")
        for key in ("name", "kind"):
            if not isinstance(entry[key], str) or not _NAME.fullmatch(entry[key]):
                rule = "is 1 to 64 letters, digits, _ . or -"
                raise SetunError(f"{source} section {key}", rule, ascii(entry[key])[:60])
        if entry["name"] in names:
            raise SetunError(source, "section names are unique", entry["name"])
        names.add(entry["name"])
        if not isinstance(entry["meta"], dict):
            raise SetunError(f"{source} section {entry['name']}", "meta is an object")
        if any(type(entry[k]) is not int or entry[k] < 0 for k in ("offset", "length", "crc32")):
            rule = "offset, length and crc32 are whole numbers"
            raise SetunError(f"{source} section {entry['name']}", rule)
        offset = end + -end % ALIGNMENT
        if entry["offset"] != offset:
            raise SetunError(
                f"{source} section {entry['name']}", f"must start at {offset}", entry["offset"]
            )
        end = offset + entry["length"]
    return end


def _sections(
    entries: list[dict[str, Any]], data: memoryview, end: int, source: str
) -> dict[str, Section]:
    sections = {}
    for entry in entries:
        offset, length = entry["offset"], entry["length"]
        if any(data[end:offset]):
            raise SetunError(source, f"bytes {end} to {offset - 1} must be 0", fix="corrupt")
        end = offset + length
        payload = data[offset:end]
        if zlib.crc32(payload) != entry["crc32"]:
            raise SetunError(
                f"{source} section {entry['name']}", "must match its CRC", fix="the file is corrupt"
            )
        sections[entry["name"]] = Section(entry["name"], entry["kind"], payload, entry["meta"])
    return sections
