"""Weight words: a matrix cut up for the array of a chip.

A weight word holds `rows` x `columns` codes: row-major, first row and column in the lowest bits;
`ChipConfig.pump` parts of equal size, each in whole bytes. A matrix is padded with zeros to whole
words and cut into panels of `ChipConfig.panel` row groups, a panel into blocks of `columns`
columns; within a block the groups follow each other.
"""

from collections.abc import Iterator

import numpy as np

from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image, aligned
from setun.firmware.image.matrix import Matrix
from setun.firmware.numerics.ternary import PACKING, Bytes, Codes, rows_at_once


def weight_words(image: Image, config: ChipConfig) -> int:
    """Weight words that `image` takes, padding included."""
    return sum(matrix_words(m, config) for m in image.matrices)


def matrix_words(matrix: Matrix, config: ChipConfig) -> int:
    """Weight words of one matrix, padding included."""
    return -(-matrix.rows // config.rows) * -(-matrix.columns // config.columns)


def packed_words(matrix: Matrix, config: ChipConfig) -> Bytes:
    """A matrix's weight words in the array's order, uint8 [words, bytes of a word]."""
    return np.concatenate(list(word_blocks(matrix, config)))


def word_blocks(matrix: Matrix, config: ChipConfig) -> Iterator[Bytes]:
    """`packed_words` piece by piece: whole panels, that are unpacked for it alone."""
    panel = config.rows * config.panel
    step = max(1, rows_at_once(matrix.columns) // panel) * panel
    for start in range(0, matrix.rows, step):
        yield _words(matrix.codes(slice(start, start + step)), config)


def _words(codes: Codes, config: ChipConfig) -> Bytes:
    """Words of rows that begin with a panel."""
    p, q = config.columns, config.rows
    rows, columns = codes.shape
    padded = np.zeros((aligned(rows, q), aligned(columns, p)), np.int8)
    padded[:rows, :columns] = codes
    groups = padded.reshape(-1, q, padded.shape[1] // p, p)
    words = [
        groups[start : start + config.panel].transpose(2, 0, 1, 3).reshape(-1, p * q)
        for start in range(0, len(groups), config.panel)
    ]
    parts = np.concatenate(words).reshape(-1, config.pump, p * q // config.pump)
    return PACKING[config.packing].pack(parts).reshape(len(parts), -1)
