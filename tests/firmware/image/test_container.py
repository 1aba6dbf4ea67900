"""The image file: exact round trips, and no damaged file is ever accepted."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setun.firmware.errors import SetunError
from setun.firmware.image.container import (
    JSON_LIMIT,
    MAGIC,
    VERSION,
    Section,
    dump,
    parse,
    read,
    write,
)

HEADER: dict[str, Any] = {"model": "κείμενο", "layers": 6, "eps": 1e-6, "tied": False}
SECTIONS = [
    Section("weights", "ternary-2b", bytes(range(256)) * 3 + b"!", {"rows": 12}),
    Section("empty", "none", b""),
    Section("program", "isa.1", b"\x7f" * 63),
]
SAMPLE = dump(HEADER, SECTIONS)

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
JSON_OBJECTS = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), JSON_VALUES)


def framed(text: bytes, body: bytes = b"") -> bytes:
    """A file with good CRCs around whatever JSON a hostile writer wants."""
    prefix = struct.pack(
        "<8sIIQI", MAGIC, VERSION, len(text), 32 + len(text) + len(body), zlib.crc32(text)
    )
    return prefix + struct.pack("<I", zlib.crc32(prefix)) + text + body


def refusal(data: bytes) -> str:
    with pytest.raises(SetunError) as caught:
        parse(data, "x.setun")
    line = str(caught.value)
    assert line.startswith("x.setun")
    assert "\n" not in line
    return line


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    path = tmp_path / "m.setun"
    path.write_bytes(b"old")
    write(path, HEADER, SECTIONS)
    header, sections = read(path)
    assert header == HEADER
    assert list(sections.values()) == SECTIONS
    assert path.read_bytes() == SAMPLE == dump(dict(reversed(HEADER.items())), SECTIONS)
    assert [p.name for p in tmp_path.iterdir()] == ["m.setun"]
    for section in SECTIONS[::2]:
        assert SAMPLE.find(section.data) % 64 == 0


@settings(max_examples=40)
@given(JSON_OBJECTS, st.lists(st.tuples(st.binary(max_size=200), JSON_OBJECTS), max_size=5))
def test_any_content_round_trips(
    header: dict[str, Any], parts: list[tuple[bytes, dict[str, Any]]]
) -> None:
    sections = [Section(f"s{k}", "any", data, meta) for k, (data, meta) in enumerate(parts)]
    data = dump(header, sections)
    assert data == dump(header, sections)
    assert parse(data, "x") == (header, {s.name: s for s in sections})


def test_every_bit_flip_is_refused() -> None:
    for place in range(len(SAMPLE)):
        damaged = bytearray(SAMPLE)
        damaged[place] ^= 1 << (place % 8)
        refusal(bytes(damaged))


@given(st.integers(0, 8 * len(SAMPLE) - 1))
def test_random_bit_flips_are_refused(bit: int) -> None:
    damaged = bytearray(SAMPLE)
    damaged[bit // 8] ^= 1 << (bit % 8)
    refusal(bytes(damaged))


def test_every_truncation_and_extension_is_refused() -> None:
    for length in range(len(SAMPLE)):
        refusal(SAMPLE[:length])
    for tail in (b"\0", b"x", bytes(64), SAMPLE):
        refusal(SAMPLE + tail)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    refusal(data)
    refusal(MAGIC + data)


@settings(max_examples=200)
@given(st.binary(max_size=300) | JSON_VALUES.map(lambda v: json.dumps(v).encode()))
def test_random_headers_with_good_crcs_are_refused(text: bytes) -> None:
    refusal(framed(text))


ENTRY = {
    "name": "w",
    "kind": "k",
    "offset": 192,
    "length": 1,
    "crc32": zlib.crc32(b"a"),
    "meta": {},
}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"offset": 128}, "must start at 192"),
        ({"offset": -64}, "whole numbers"),
        ({"length": 10**18}, "must end with"),
        ({"length": True}, "whole numbers"),
        ({"length": 1.0}, "whole numbers"),
        ({"crc32": 0}, "must match its CRC"),
        ({"name": "a/b"}, "letters, digits"),
        ({"name": ""}, "letters, digits"),
        ({"kind": 3}, "letters, digits"),
        ({"meta": []}, "meta is an object"),
        ({"more": 1}, "a section has"),
    ],
)
def test_hostile_section_tables(change: dict[str, Any], rule: str) -> None:
    def file(entry: dict[str, Any]) -> bytes:
        content = {"header": {"pad": ""}, "sections": [entry]}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        content["header"] = {"pad": "." * (150 - len(text))}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return framed(text.encode(), bytes(192 - 32 - len(text)) + b"a")

    assert parse(file(ENTRY), "x")[1]["w"].data == b"a"
    assert rule in refusal(file(ENTRY | change))


def test_hostile_headers() -> None:
    empty = b'{"header":{},"sections":[]}'
    assert parse(framed(empty), "x") == ({}, {})
    for text in (
        b'{"header":{},"header":{},"sections":[]}',
        b'{"header":{}, "sections":[]}',
        b'{"header":{"a":NaN},"sections":[]}',
        b'{"header":{"a":"\\ud800"},"sections":[]}',
        b'{"header":{},"sections":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"header":{"a":' + b"9" * 5000 + b'},"sections":[]}',
    ):
        assert "header must be" in refusal(framed(text))
    assert "must end with" in refusal(framed(empty, bytes(64)))
    huge = struct.pack("<8sIIQI", MAGIC, VERSION, JSON_LIMIT, 36, 0)
    huge += struct.pack("<I", zlib.crc32(huge))
    assert "within the file" in refusal(huge + b"1234")
    newer = struct.pack("<8sIIQI", MAGIC, VERSION + 1, 0, 32, 0)
    assert "format version" in refusal(newer + struct.pack("<I", zlib.crc32(newer)))


def test_padding_must_be_zero() -> None:
    place = SAMPLE.find(SECTIONS[0].data) - 1
    assert SAMPLE[place] == 0
    assert "must be 0" in refusal(SAMPLE[:place] + b"\1" + SAMPLE[place + 1 :])


@pytest.mark.parametrize(
    ("header", "sections"),
    [
        ({}, [Section("a", "k", b""), Section("a", "k", b"")]),
        ({}, [Section("a b", "k", b"")]),
        ({}, [Section("a", "", b"")]),
        ({"x": float("nan")}, []),
        ({"x": (1, 2)}, []),
        ({"x": {1: 2}}, []),
        ({"x": b"bytes"}, []),
        ({"x": "\ud800"}, []),
    ],
)
def test_unwritable_content_leaves_the_old_file(
    tmp_path: Path, header: dict[Any, Any], sections: list[Section]
) -> None:
    path = tmp_path / "m.setun"
    path.write_bytes(b"old")
    with pytest.raises(SetunError):
        write(path, header, sections)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("\0"), Path("/dev/null")):
        with pytest.raises(SetunError):
            read(path)
    for path in (tmp_path, tmp_path / "none/m.setun", tmp_path / "\0"):
        with pytest.raises(SetunError, match=r"must be (writable|a file)"):
            write(path, HEADER, SECTIONS)
    assert not list(tmp_path.iterdir())
