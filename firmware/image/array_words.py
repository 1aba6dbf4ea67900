"""Weight words: a matrix cut up for the array of a chip.

A weight word holds `rows` x `columns` codes: row-major, first row and column in the lowest bits;
`ChipConfig.pump` parts of equal size, each in whole bytes. A matrix is padded with zeros to whole
words and cut into panels of `ChipConfig.panel` row groups, a panel into blocks of `columns`
columns; within a block the groups follow each other.

Of a matrix of five-trit weights a panel is one row group, whose planes stand in place of groups,
that of 3**4 first; a word with the scales of its rows, in the chip's vector format, is behind it.
"""

from collections.abc import Iterator

import numpy as np

from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image, aligned
from setun.firmware.image.matrix import Matrix
from setun.firmware.image.wide_matrix import WideMatrix
from setun.firmware.numerics.five_trits import PLANES, planes_of
from setun.firmware.numerics.ternary import PACKING, Bytes, Codes, rows_at_once


def weight_words(image: Image, config: ChipConfig) -> int:
    """Weight words that `image` takes, padding included."""
    return sum(matrix_words(m, config) for m in image.matrices)


def matrix_words(matrix: Matrix, config: ChipConfig) -> int:
    """Weight words of one matrix, padding included."""
    return -(-matrix.rows // config.rows) * group_words(matrix.columns, matrix.planes, config)


def group_words(columns: int, planes: int, config: ChipConfig) -> int:
    """Weight words of a row group."""
    return planes * -(-columns // config.columns) + (planes > 1)


def packed_words(matrix: Matrix, config: ChipConfig) -> Bytes:
    """A matrix's weight words in the array's order, uint8 [words, bytes of a word]."""
    return np.concatenate(list(word_blocks(matrix, config)))


def word_blocks(matrix: Matrix, config: ChipConfig) -> Iterator[Bytes]:
    """`packed_words` piece by piece: whole panels, that are unpacked for it alone."""
    if isinstance(matrix, WideMatrix):
        yield from _wide_blocks(matrix, config)
        return
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
    return _packed(np.concatenate(words), config)


def _packed(words: Codes, config: ChipConfig) -> Bytes:
    """Codes [words, rows x columns] as bytes [words, bytes of a word]."""
    parts = words.reshape(-1, config.pump, config.macs // config.pump)
    return PACKING[config.packing].pack(parts).reshape(len(parts), -1)


def _wide_blocks(matrix: WideMatrix, config: ChipConfig) -> Iterator[Bytes]:
    """`word_blocks` of five-trit weights."""
    p, q, fmt = config.columns, config.rows, config.vector
    step = max(1, rows_at_once(PLANES * matrix.columns) // q) * q
    for start in range(0, matrix.rows, step):
        part = slice(start, start + step)
        levels, scales = matrix.codes(part), matrix.row_scales(part)
        rows, columns = levels.shape
        padded = np.zeros((aligned(rows, q), aligned(columns, p)), np.int8)
        padded[:rows, :columns] = levels
        groups = padded.reshape(-1, q, padded.shape[1] // p, p)
        trits = planes_of(groups)[::-1].transpose(1, 3, 0, 2, 4)  # groups, blocks, planes, q, p
        words = _packed(trits.reshape(-1, p * q), config).reshape(len(groups), -1)
        numbers = np.zeros(len(padded), np.int64)
        numbers[:rows] = fmt.to_bits(scales)
        bits = (numbers[:, None] >> np.arange(fmt.width) & 1).reshape(len(groups), -1)
        last = np.zeros((len(groups), config.weight_bits // 8), np.uint8)
        held = np.packbits(bits.astype(np.uint8), axis=1, bitorder="little")
        last[:, : held.shape[1]] = held
        yield np.concatenate([words, last], axis=1).reshape(-1, last.shape[1])
