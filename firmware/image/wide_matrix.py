"""Float matrices as an image holds them: a byte a weight, a scale a row."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError
from setun.firmware.image.matrix import EVERY, blocks_of
from setun.firmware.numerics.five_trits import PLANES, TOP, quantise_rows
from setun.firmware.numerics.ternary import Bytes, Codes

SCALE_BYTES = 4
"""Of a row's scale, a little endian float32 behind its levels."""


@dataclass(frozen=True, eq=False)
class WideMatrix:
    """A `setun.firmware.image.matrix.Matrix` of five-trit weights; its codes are levels.

    values
        uint8 [rows, columns + 4], which may be a view on a mapped file: the levels of a row as
        signed bytes, then its scale.
    """

    name: str
    values: Bytes
    planes = PLANES
    group = 0
    scale = 1.0

    @classmethod
    def of_floats(cls, name: str, weights: NDArray[np.float32]) -> "WideMatrix":
        """The matrix of float32 weights [rows, columns]."""
        rows, columns = weights.shape
        if rows > 1 and weights.strides[0] == 0:  # one row that stands for all
            one = cls.of_floats(name, weights[:1])
            return cls(name, np.broadcast_to(one.values, (rows, columns + SCALE_BYTES)))
        values = np.empty((rows, columns + SCALE_BYTES), np.uint8)
        for part in blocks_of(rows, columns):
            levels, scales = quantise_rows(weights[part])
            values[part, :columns] = levels.view(np.uint8)
            values[part, columns:] = scales.astype("<f4")[:, None].view(np.uint8)
        return cls(name, values)

    @property
    def rows(self) -> int:
        return len(self.values)

    @property
    def columns(self) -> int:
        return self.values.shape[1] - SCALE_BYTES

    def row_bytes(self, packing: str) -> int:
        """Bytes of a row in a file, whatever the packing."""
        return self.values.shape[1]

    def codes(self, rows: slice = EVERY) -> Codes:
        """Levels int8 [rows, columns], -121 to 121."""
        return self.values[rows, : self.columns].view(np.int8)

    def row_scales(self, rows: slice = EVERY) -> NDArray[np.float32]:
        """What a level of 1 stands for, float32 [rows]."""
        held = np.ascontiguousarray(self.values[rows, self.columns :])
        return held.view("<f4").astype(np.float32, copy=False)[:, 0]

    def packed(self, packing: str) -> Bytes:
        """The bytes of a file, whatever the packing."""
        return self.values

    def check(self, thing: str) -> None:
        """Refuse what is no level or no scale."""
        if self.values.dtype != np.uint8 or self.values.ndim != 2:
            raise SetunError(thing, "must be bytes [rows, n]", self.values.dtype)
        if self.columns < 1:
            raise SetunError(thing, "must have rows and columns", f"{self.rows}x{self.columns}")
        scales = self.row_scales()
        if not (np.isfinite(scales).all() and (scales >= 0).all()):
            raise SetunError(thing, "scales must be finite and not below 0")
        for part in blocks_of(self.rows, self.columns):
            levels = self.codes(part)
            if levels.min() < -TOP or levels.max() > TOP:
                raise SetunError(thing, f"levels must be from {-TOP} to {TOP}")
