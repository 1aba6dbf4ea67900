"""Weight words: a matrix cut up for the array of a chip.

A weight word holds `rows` x `columns` codes: row-major, first row and column in the lowest bits;
`ChipConfig.pump` parts of equal size, each in whole bytes. A matrix is padded with zeros to whole
words and cut into panels of `ChipConfig.panel` row groups, a panel into blocks of `columns`
columns; within a block the groups follow each other.
"""

import numpy as np
from numpy.typing import NDArray

from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image, Matrix, aligned
from setun.firmware.numerics.ternary import pack_2b, pack_trits


def weight_words(image: Image, config: ChipConfig) -> int:
    """Weight words that `image` takes, padding included."""
    return sum(matrix_words(m, config) for m in image.matrices)


def matrix_words(matrix: Matrix, config: ChipConfig) -> int:
    """Weight words of one matrix, padding included."""
    return -(-matrix.rows // config.rows) * -(-matrix.columns // config.columns)


def packed_words(matrix: Matrix, config: ChipConfig) -> NDArray[np.uint8]:
    """A matrix's weight words in the array's order, uint8 [words, bytes of a word]."""
    p, q = config.columns, config.rows
    padded = np.zeros((aligned(matrix.rows, q), aligned(matrix.columns, p)), np.int8)
    padded[: matrix.rows, : matrix.columns] = matrix.codes()
    groups = padded.reshape(-1, q, padded.shape[1] // p, p)
    codes = np.concatenate(
        [
            groups[start : start + config.panel].transpose(2, 0, 1, 3).reshape(-1, p * q)
            for start in range(0, len(groups), config.panel)
        ]
    )
    if config.packing == "2b":
        return pack_2b(codes.ravel()).reshape(len(codes), -1)
    parts = codes.reshape(len(codes) * config.pump, -1)
    whole = np.zeros((len(parts), aligned(parts.shape[1], 5)), np.int8)
    whole[:, : parts.shape[1]] = parts
    return pack_trits(whole.ravel()).reshape(len(codes), -1)
