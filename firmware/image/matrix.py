"""Ternary matrices as an image holds them: packed, unpacked a few rows at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError
from setun.firmware.numerics.ternary import NEAR, PACKING, Bytes, Codes, codes_of, rows_at_once

EVERY = slice(None)


class Matrix(Protocol):
    """A projection, ternary or of `planes` that are."""

    @property
    def name(self) -> str:
        """Unique among the image's matrices."""
        ...

    @property
    def rows(self) -> int: ...

    @property
    def columns(self) -> int: ...

    @property
    def scale(self) -> float:
        """What a code of 1 stands for, where rows have no scales of their own."""
        ...

    @property
    def planes(self) -> int:
        """Trits of a weight: 1, or 5 of a `setun.firmware.image.wide_matrix.WideMatrix`."""
        ...

    @property
    def group(self) -> int:
        """Columns that share a scale; 0 but for `setun.firmware.image.grouped_matrix`."""
        ...

    def row_bytes(self, packing: str) -> int:
        """Bytes of a row of `packed`."""
        ...

    def codes(self, rows: slice = EVERY) -> Codes:
        """int8 [rows, columns], those of `rows` alone: -1, 0 or 1, or levels of five trits."""
        ...

    def row_scales(self, rows: slice = EVERY) -> NDArray[np.float32] | None:
        """What a whole number of a row stands for, float32 [rows]; None where all share `scale`."""
        ...

    def packed(self, packing: str) -> Bytes:
        """uint8 [rows, bytes]: each row in whole bytes, padded with zero codes."""
        ...

    def check(self, thing: str) -> None:
        """Refuse what holds no codes; `thing` names it in the error."""
        ...


@dataclass(frozen=True, eq=False)
class PackedMatrix:
    """A `Matrix` in the bytes of a packing, which may be a view on a mapped file.

    values
        uint8 [rows, bytes], each row in whole bytes.
    packing
        One of `setun.firmware.config.PACKINGS`.
    """

    name: str
    values: Bytes
    columns: int
    scale: float
    packing: str
    planes = 1
    group = 0

    @classmethod
    def of_codes(
        cls, name: str, codes: NDArray[np.int8], scale: float, packing: str
    ) -> "PackedMatrix":
        """The matrix of int8 codes [rows, columns]."""
        way, (rows, columns) = PACKING[packing], codes.shape
        if rows > 1 and codes.strides[0] == 0:  # one row that stands for all
            values = np.broadcast_to(way.pack(codes[:1]), (rows, way.length(columns)))
            return cls(name, values, columns, scale, packing)
        values = np.empty((rows, way.length(columns)), np.uint8)
        for part in blocks_of(rows, columns):
            values[part] = way.pack(codes[part])
        return cls(name, values, columns, scale, packing)

    @classmethod
    def of_floats(
        cls, name: str, weights: NDArray[np.float32], scale: np.float32, packing: str
    ) -> "PackedMatrix":
        """The matrix of float32 weights [rows, columns] by `absmean`'s rule and its scale.

        They are gone through once, and codes are not held.
        """
        way, (rows, columns) = PACKING[packing], weights.shape
        if rows > 1 and weights.strides[0] == 0:  # one row that stands for all
            one = cls.of_floats(name, weights[:1], scale, packing).values
            values = np.broadcast_to(one, (rows, way.length(columns)))
            return cls(name, values, columns, float(scale), packing)
        values = np.empty((rows, way.length(columns)), np.uint8)
        step = rows_at_once(columns, NEAR)
        codes = np.zeros((step, values.shape[1], way.per_byte), np.int8)
        for k in range(0, rows, step):
            part = weights[k : k + step]
            flat = codes[: len(part)].reshape(len(part), -1)
            codes_of(part, scale, flat[:, :columns])
            values[k : k + step] = way.join(codes[: len(part)])
        return cls(name, values, columns, float(scale), packing)

    @property
    def rows(self) -> int:
        return len(self.values)

    def row_bytes(self, packing: str) -> int:
        return PACKING[packing].length(self.columns)

    def codes(self, rows: slice = EVERY) -> Codes:
        return PACKING[self.packing].unpack(self.values[rows], self.columns)

    def row_scales(self, rows: slice = EVERY) -> None:
        return None

    def packed(self, packing: str) -> Bytes:
        if packing == self.packing:
            return self.values
        way = PACKING[packing]
        values = np.empty((self.rows, way.length(self.columns)), np.uint8)
        for part, codes in code_blocks(self):
            values[part] = way.pack(codes)
        return values

    def check(self, thing: str) -> None:
        """Refuse bytes that no codes are packed to."""
        way = PACKING[self.packing]
        if self.values.dtype != np.uint8 or self.values.ndim != 2:
            raise SetunError(thing, "must be bytes [rows, n]", self.values.dtype)
        if self.values.shape[1] != way.length(self.columns):
            rule = f"rows of {self.columns} codes take {way.length(self.columns)} bytes"
            raise SetunError(thing, rule, self.values.shape[1])
        for part in blocks_of(self.rows, self.columns):
            values = self.values[part]
            if not way.written.take(values).all():
                raise SetunError(thing, way.rule)
            try:
                way.unpack(values[:, -1:], self.columns - (values.shape[1] - 1) * way.per_byte)
            except SetunError as error:
                raise SetunError(thing, error.rule, error.value) from error


def blocks_of(rows: int, columns: int) -> Iterator[slice]:
    """Runs of rows, about `BLOCK` weights each, that are all of a matrix."""
    step = rows_at_once(columns)
    return (slice(k, min(k + step, rows)) for k in range(0, rows, step))


def code_blocks(matrix: Matrix) -> Iterator[tuple[slice, Codes]]:
    """A matrix's codes, a run of rows at a time, and which rows they are."""
    return ((part, matrix.codes(part)) for part in blocks_of(matrix.rows, matrix.columns))
