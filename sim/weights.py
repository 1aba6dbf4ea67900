"""Products with an image's matrices, which stay packed where they are large."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.image.grouped_matrix import GroupedMatrix
from setun.firmware.image.image import Image
from setun.firmware.image.matrix import Matrix, blocks_of, code_blocks
from setun.firmware.image.wide_matrix import WideMatrix
from setun.firmware.numerics.arithmetic import Arithmetic, Codes
from setun.firmware.numerics.five_trits import joined, planes_of
from setun.firmware.numerics.grouped import GROUP
from setun.firmware.numerics.ternary import PACKING

Array = NDArray[np.float32]

KEPT = 1 << 24
"""Weights of an image that are expanded to float32 once and for all."""
BYTES = 1 << 15
"""Bytes of packed weights that are looked up at a time: their indices fit a processor's cache."""


class Weights:
    """One matrix [m, n].

    Parameters
    ----------
    matrix
        Of an image.
    packing
        The image's, which the matrix is best held in.
    kept
        Whether all of it is expanded.
    """

    def __init__(self, matrix: Matrix, packing: str, kept: bool) -> None:
        self._matrix = matrix
        self._expanded = np.ascontiguousarray(matrix.codes().T, np.float32) if kept else None
        self._packing = packing
        self._packed = None if kept else matrix.packed(packing)

    def products(self, x: Array, product: Callable[[Array, Array], NDArray[Any]]) -> NDArray[Any]:
        """`product` of x [.., n] and weights [n, m], made of those of a few rows at a time."""
        if self._expanded is not None:
            return product(x, self._expanded)
        blocks = (codes.astype(np.float32).T for _, codes in code_blocks(self._matrix))
        return np.concatenate([product(x, block) for block in blocks], axis=-1)

    def sums(self, codes: Codes, compute: Arithmetic) -> NDArray[Any]:
        """`Arithmetic.sums` of codes [.., n] and all of it.

        int8 codes of a single vector are looked up: 256 sums for each byte of a row.
        """
        if self._packed is None or codes.ndim > 1 or compute.numerics.fp8:
            return self.products(codes, compute.sums)
        way, (rows, size) = PACKING[self._packing], self._packed.shape
        padded = np.zeros((size, way.per_byte), np.float32)
        padded.ravel()[: codes.size] = codes
        # 5 * 127 at most.
        table = (padded @ way.codes.T.astype(np.float32)).astype(np.int16).ravel()
        places = np.arange(size) * 256
        found, step = np.empty(rows, np.float32), max(1, BYTES // size)
        for k in range(0, rows, step):
            parts = table.take(self._packed[k : k + step] + places, mode="clip")
            found[k : k + step] = parts.sum(1, dtype=np.int32)
        return found


class WideWeights:
    """One matrix [m, n] of five-trit weights; members as of `Weights`."""

    def __init__(self, matrix: WideMatrix) -> None:
        self._matrix = matrix

    def products(self, x: Array, product: Callable[[Array, Array], NDArray[Any]]) -> NDArray[Any]:
        """`product` of x [.., n] and levels [n, m], made of those of a few rows at a time."""
        blocks = (levels.astype(np.float32).T for _, levels in code_blocks(self._matrix))
        return np.concatenate([product(x, block) for block in blocks], axis=-1)

    def sums(self, codes: Codes, compute: Arithmetic) -> NDArray[np.float64]:
        """Sums of the planes, each of which `Arithmetic.sums` makes, joined; exact."""
        found = []
        for _, levels in code_blocks(self._matrix):
            if not compute.numerics.fp8:
                # No rounding on the way: the same as plane by plane.
                found.append(codes.astype(np.float64) @ levels.T.astype(np.float64))
                continue
            planes = [plane.T.astype(np.float32) for plane in planes_of(levels)]
            found.append(joined(np.stack([compute.sums(codes, plane) for plane in planes])))
        return np.concatenate(found, axis=-1)


class GroupedWeights:
    """One matrix [m, n] with scales of groups; members as of `Weights`."""

    def __init__(self, matrix: GroupedMatrix, kept: bool) -> None:
        self._matrix = matrix
        self._levels = matrix.levels().T.astype(np.float64) if kept else None

    def products(self, x: Array, product: Callable[[Array, Array], NDArray[Any]]) -> NDArray[Any]:
        """`product` of x [.., n] and levels [n, m], made of those of a few rows at a time."""
        blocks = (self._matrix.levels(part).astype(np.float32).T for part in self._parts())
        return np.concatenate([product(x, block) for block in blocks], axis=-1)

    def sums(self, codes: Codes, compute: Arithmetic) -> NDArray[np.float64]:
        """Sums of the groups, each of which `Arithmetic.sums` makes, times their factors; exact."""
        x = codes.astype(np.float64)
        if compute.numerics.fp8:
            return np.concatenate([self._rounded(codes, p, compute) for p in self._parts()], -1)
        # No rounding on the way: the same as group by group.
        if self._levels is not None:
            return x @ self._levels
        found = [x @ self._matrix.levels(part).T.astype(np.float64) for part in self._parts()]
        return np.concatenate(found, axis=-1)

    def _parts(self) -> Iterator[slice]:
        return blocks_of(self._matrix.rows, self._matrix.columns)

    def _rounded(self, codes: Codes, part: slice, compute: Arithmetic) -> NDArray[np.float64]:
        weights = self._matrix.codes(part).T.astype(np.float32)
        factors = self._matrix.factors(part).T.astype(np.float64)
        total = np.zeros((*codes.shape[:-1], weights.shape[1]))
        for k, factor in enumerate(factors):
            group = slice(GROUP * k, GROUP * k + GROUP)
            total += compute.sums(codes[..., group], weights[group]) * factor
        return total


def weights_of(image: Image) -> list[Weights | WideWeights | GroupedWeights]:
    """Every matrix, in order."""
    kept = image.weights <= KEPT

    def ready(matrix: Matrix) -> Weights | WideWeights | GroupedWeights:
        if isinstance(matrix, WideMatrix):
            return WideWeights(matrix)
        if isinstance(matrix, GroupedMatrix):
            return GroupedWeights(matrix, kept)
        return Weights(matrix, image.packing, kept)

    return [ready(matrix) for matrix in image.matrices]
