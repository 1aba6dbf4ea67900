"""Ternary matrices with scales of groups, as an image holds them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError
from setun.firmware.image.matrix import EVERY, PackedMatrix, blocks_of
from setun.firmware.numerics.grouped import GROUP, factored, levels
from setun.firmware.numerics.ternary import PACKING, Bytes, Codes

UNIT_BYTES = 4
"""Of a row's unit, a little endian float32 behind its factors."""


@dataclass(frozen=True, eq=False)
class GroupedMatrix:
    """A `setun.firmware.image.matrix.Matrix` with a scale for every `GROUP` inputs of a row.

    values
        uint8 [rows, bytes], which may be a view on a mapped file: the codes of a row, packed in
        whole bytes, a factor for each group, and the row's unit; see
        `setun.firmware.numerics.grouped`.
    packing
        One of `setun.firmware.config.PACKINGS`.
    """

    name: str
    values: Bytes
    columns: int
    packing: str
    planes = 1
    scale = 1.0
    group = GROUP

    @classmethod
    def of_codes(
        cls, name: str, codes: Codes, scales: NDArray[np.float32], packing: str
    ) -> "GroupedMatrix":
        """The matrix of int8 codes [rows, columns] and float32 scales [rows, columns / 128]."""
        rows, columns = codes.shape
        if rows > 1 and codes.strides[0] == 0:  # one row that stands for all
            one = cls.of_codes(name, codes[:1], scales[:1], packing).values
            return cls(name, np.broadcast_to(one, (rows, one.shape[1])), columns, packing)
        values = np.empty((rows, grouped_row_bytes(columns, packing)), np.uint8)
        for part in blocks_of(rows, columns):
            turned, factors, units = factored(codes[part], scales[part])
            values[part] = _joined(PACKING[packing].pack(turned), factors, units)
        return cls(name, values, columns, packing)

    @property
    def rows(self) -> int:
        return len(self.values)

    @property
    def groups(self) -> int:
        """Groups of a row."""
        return self.columns // GROUP

    def row_bytes(self, packing: str) -> int:
        return grouped_row_bytes(self.columns, packing)

    def codes(self, rows: slice = EVERY) -> Codes:
        return PACKING[self.packing].unpack(self._held(rows), self.columns)

    def factors(self, rows: slice = EVERY) -> Bytes:
        """What sums of groups are multiplied by, uint8 [rows, groups]."""
        return self.values[rows, -self.groups - UNIT_BYTES : -UNIT_BYTES]

    def levels(self, rows: slice = EVERY) -> NDArray[np.int16]:
        """Codes times factors, [rows, columns]: -255 to 255."""
        return levels(self.codes(rows), self.factors(rows))

    def row_scales(self, rows: slice = EVERY) -> NDArray[np.float32]:
        """Units, what a level of 1 stands for: float32 [rows]."""
        held = np.ascontiguousarray(self.values[rows, -UNIT_BYTES:])
        return held.view("<f4").astype(np.float32, copy=False)[:, 0]

    def packed(self, packing: str) -> Bytes:
        """The bytes of a file."""
        if packing == self.packing:
            return self.values
        values = np.empty((self.rows, self.row_bytes(packing)), np.uint8)
        for part in blocks_of(self.rows, self.columns):
            way = PACKING[packing]
            values[part] = _joined(
                way.pack(self.codes(part)), self.factors(part), self.row_scales(part)
            )
        return values

    def check(self, thing: str) -> None:
        """Refuse bytes that no codes are packed to, and what is no scale."""
        if self.values.dtype != np.uint8 or self.values.ndim != 2:
            raise SetunError(thing, "must be bytes [rows, n]", self.values.dtype)
        if self.columns < 1 or self.columns % GROUP:
            raise SetunError(thing, f"must have groups of {GROUP} columns", self.columns)
        if self.values.shape[1] != self.row_bytes(self.packing):
            rule = f"rows of {self.columns} codes take {self.row_bytes(self.packing)} bytes"
            raise SetunError(thing, rule, self.values.shape[1])
        units = self.row_scales()
        if not (np.isfinite(units).all() and (units >= 0).all()):
            raise SetunError(thing, "scales must be finite and not below 0")
        PackedMatrix(self.name, self._held(EVERY), self.columns, 1.0, self.packing).check(thing)

    def _held(self, rows: slice) -> Bytes:
        """Packed codes alone."""
        return self.values[rows, : PACKING[self.packing].length(self.columns)]


def grouped_row_bytes(columns: int, packing: str) -> int:
    """Bytes of a row in a file."""
    return PACKING[packing].length(columns) + columns // GROUP + UNIT_BYTES


def _joined(codes: Bytes, factors: Bytes, units: NDArray[np.float32]) -> Bytes:
    return np.concatenate([codes, factors, units.astype("<f4")[:, None].view(np.uint8)], axis=1)
