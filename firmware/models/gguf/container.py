"""GGUF files: metadata and where each tensor lies, checked before anything is read.

The format is ggml's (`docs/gguf.md` there), versions 2 and 3, little-endian. The ``gguf`` package
reads no type that llama.cpp's main line lacks, I2_S for one, and believes every count of a file.
"""

import math
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError
from setun.firmware.models.gguf.types import TYPES, UNREAD, Type

MAGIC = b"GGUF"
WHOLE = "must be a whole GGUF file"
LONGEST_ARRAY = 1 << 22
"""Elements of the longest array that is taken; a vocabulary's merges are the longest in use."""
LARGEST_ALIGNMENT = 1 << 16
_NUMBERS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class Entry:
    """A tensor of a file.

    shape
        Rows first, as NumPy has it.
    begin
        Its first byte's place in the file.
    """

    shape: tuple[int, ...]
    type: Type
    begin: int

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.type.size(math.prod(self.shape))


class GgufFile:
    """A GGUF file, mapped; its tensors are read when they are asked for.

    Members
    -------
    values
        Metadata by key: numbers, truth values, texts, arrays of texts (lists) or numbers (NumPy).
    tensors
        Where each is.

    Raises
    ------
    SetunError
        It is no GGUF file, not all of one, or has a tensor of a type that is not read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            try:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError as error:  # an empty file cannot be mapped
                raise SetunError(str(path), WHOLE, "nothing") from error
        cursor = _Cursor(self._bytes, path)
        if cursor.take(4) != MAGIC:
            raise SetunError(str(path), "must begin with GGUF")
        version = cursor.number("<u4")
        if version not in (2, 3):
            swapped = version in (2 << 24, 3 << 24)
            found = "big-endian" if swapped else f"version {version}"
            raise SetunError(str(path), "must be little-endian GGUF of version 2 or 3", found)
        count, keys = cursor.number("<u8"), cursor.number("<u8")
        self.values = dict(_distinct("key", path, (cursor.entry() for _ in range(keys))))
        infos = dict(_distinct("tensor", path, (cursor.tensor() for _ in range(count))))
        alignment = self.values.get("general.alignment", 32)
        if type(alignment) is not int or not _is_alignment(alignment):
            raise SetunError(str(path), "general.alignment must be a power of two", alignment)
        start = -(-cursor.place // alignment) * alignment
        self.tensors = _placed(path, infos, start, len(self._bytes), alignment)

    def raw(self, name: str) -> NDArray[np.uint8]:
        """The bytes of a tensor, not copied."""
        entry = self.tensors[name]
        return np.frombuffer(self._bytes, np.uint8, entry.size, entry.begin)


class _Cursor:
    """Reads one thing after another; what lies beyond the end is refused."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self._data, self._path, self.place = data, path, 0

    def take(self, length: int) -> bytes:
        self.need(length)
        self.place += length
        return self._data[self.place - length : self.place]

    def need(self, length: int) -> None:
        if length > len(self._data) - self.place:
            raise SetunError(
                str(self._path), WHOLE, f"{len(self._data)} bytes", "download it again"
            )

    def number(self, kind: str) -> Any:
        dtype = np.dtype(kind)
        found = np.frombuffer(self.take(dtype.itemsize), dtype)[0]
        # 1e-5 in float32 is meant as the decimal that it was written for.
        return float(str(found)) if kind == "<f4" else found.item()

    def text(self) -> str:
        data = self.take(int.from_bytes(self.take(8), "little"))
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise SetunError(str(self._path), "texts must be UTF-8", error) from error

    def entry(self) -> tuple[str, Any]:
        return self.text(), self.value(self.number("<u4"))

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self.array(self.number("<u4"), self.number("<u8"))
        if kind not in _NUMBERS:
            raise SetunError(str(self._path), "metadata must be of a type that GGUF has", kind)
        return self.number(_NUMBERS[kind])

    def array(self, kind: int, count: int) -> Any:
        if count > LONGEST_ARRAY:
            rule = f"arrays have at most {LONGEST_ARRAY} elements"
            raise SetunError(str(self._path), rule, count)
        if kind == _STRING:
            self.need(8 * count)
            return [self.text() for _ in range(count)]
        if kind not in _NUMBERS:
            raise SetunError(str(self._path), "arrays must be of texts or numbers", f"type {kind}")
        dtype = np.dtype(_NUMBERS[kind])
        return np.frombuffer(self.take(count * dtype.itemsize), dtype)

    def tensor(self) -> tuple[str, tuple[tuple[int, ...], int, int]]:
        name, dimensions = self.text(), self.number("<u4")
        if not 1 <= dimensions <= 4:
            raise SetunError(f"tensor {name[:60]}", "must have 1 to 4 dimensions", dimensions)
        sizes = struct.unpack(f"<{dimensions}Q", self.take(8 * dimensions))
        return name, (sizes[::-1], self.number("<u4"), self.number("<u8"))


def _distinct(what: str, path: Path, items: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    seen = set()
    for name, value in items:
        if name in seen:
            raise SetunError(f"{what} {name[:60]}", f"must be in {path.name} once")
        seen.add(name)
        yield name, value


def _is_alignment(value: int) -> bool:
    return 8 <= value <= LARGEST_ALIGNMENT and value & (value - 1) == 0


def _placed(
    path: Path,
    infos: dict[str, tuple[tuple[int, ...], int, int]],
    start: int,
    end: int,
    alignment: int,
) -> dict[str, Entry]:
    """Tensors whose sizes and places are possible, none over another."""
    order = sorted(infos, key=lambda name: infos[name][2])
    room = {
        name: min(infos[after][2], max(0, end - start)) - infos[name][2]
        for name, after in pairwise(order)
    }
    if order:
        room[order[-1]] = end - start - infos[order[-1]][2]
    candidates: dict[int, tuple[Type, ...]] = dict(TYPES)
    entries = {}
    for name, (shape, kind, offset) in infos.items():
        thing = f"tensor {name[:60]}"
        if kind not in candidates:
            found = UNREAD.get(kind, f"type {kind}")
            known = ", ".join(dict.fromkeys(t.name for each in TYPES.values() for t in each))
            fix = "quantise the others with --token-embedding-type f16 --output-tensor-type f16"
            raise SetunError(thing, f"must be of a type that is read: {known}", found, fix)
        fitting = tuple(t for t in candidates[kind] if t.fits(shape))
        if not fitting or min(shape) < 1:
            block = candidates[kind][0].block
            rule = f"rows of {candidates[kind][0].name} must be multiples of {block}"
            raise SetunError(thing, rule, f"{list(shape)}")
        if offset % alignment:
            raise SetunError(thing, f"must begin at a multiple of {alignment}", offset)
        candidates[kind] = _by_room(fitting, math.prod(shape), room[name], alignment)
        entries[name] = (shape, kind, start + offset)
    placed = {n: Entry(shape, candidates[k][0], at) for n, (shape, k, at) in entries.items()}
    for name, entry in placed.items():
        if entry.size > room[name]:
            rule = f"its {entry.size} bytes must lie in {path.name}, none another's"
            raise SetunError(f"tensor {name[:60]}", rule, f"{max(0, room[name])}")
    return placed


def _by_room(fitting: tuple[Type, ...], count: int, room: int, alignment: int) -> tuple[Type, ...]:
    """Of several layouts with one number those whose size, aligned, is what a tensor has."""
    if len(fitting) == 1:
        return fitting
    exact = [t for t in fitting if t.size(count) <= room < t.size(count) + alignment]
    return tuple(exact) or fitting
