"""Which bit of which block RAM holds which bit of a memory: found by marks, used to fill them."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError

BYTES = 2048
BLOCK_BITS = 9 * BYTES
LEAST_DEPTH = 512
"""Words of a block at its widest: synthesis cuts no memory into shorter pieces."""
STRIDES = range(14)

Block = NDArray[np.uint8]
"""Initial bits of a block of 18 Kbit, bytes x 9."""
Bits = NDArray[np.uint8]
"""A memory, words x bits, each 0 or 1; bit 0 of a word first."""
Contents = Mapping[str, Bits]
"""Memories by name, as `setun.hw.emit.verilog.memory_contents` calls them."""
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What one block holds: some bit columns of consecutive words of one memory.

    Parameters
    ----------
    memory
        Its name.
    first
        Its word in row 0.
    stride
        A row has 2**stride addresses of a bit; see `rows`.
    columns
        (column of the rows, bit of the word), for each bit that the block holds.
    """

    memory: str
    first: int
    stride: int
    columns: tuple[tuple[int, int], ...]


def rows(block: Block, stride: int) -> NDArray[np.uint8]:
    """A block as words of 2**stride bits, of nine for each eight from a byte on.

    Words of less than a byte have no use for the ninth bit.
    """
    if stride < 3:
        return block[:, :8].reshape(-1, 1 << stride)
    return block.reshape(-1, 9 << (stride - 3))


def _columns(marked: Contents, stride: int) -> dict[bytes, tuple[str, int, int]]:
    """Memory, first word and bit of every column that a block of this stride may show."""
    count = 1 << (14 - stride)
    found = {}
    for name, bits in marked.items():
        if count < LEAST_DEPTH and count < len(bits):
            continue
        for first in range(0, len(bits), count):
            piece = np.zeros((count, bits.shape[1]), np.uint8)
            part = bits[first : first + count]
            piece[: len(part)] = part
            for bit, column in enumerate(np.packbits(piece.T, axis=1)):
                found[column.tobytes()] = name, first, bit
    return found


def recover(blocks: Mapping[Key, Block], marked: Contents) -> dict[Key, Piece]:
    """Where the memories lie that were filled with `marked`.

    A block is one of theirs when each of its columns that is not zero is a column of one of them.

    Raises
    ------
    SetunError
        A bit of a memory is in no block, or a block could be of two.
    """
    pieces: dict[Key, Piece] = {}
    for stride in STRIDES:
        known = _columns(marked, stride)
        if not known:
            continue
        for key, block in blocks.items():
            piece = _piece(block, stride, known)
            if piece is None:
                continue
            if key in pieces:
                raise SetunError(f"block RAM {key}", "must hold one memory", piece.memory)
            pieces[key] = piece
    _check_whole(pieces, marked)
    return pieces


def _piece(block: Block, stride: int, known: Mapping[bytes, tuple[str, int, int]]) -> Piece | None:
    if stride < 3 and block[:, 8].any():
        return None
    table = np.packbits(rows(block, stride).T, axis=1)
    used = np.flatnonzero(table.any(1))
    found = []
    for column in used:
        known_as = known.get(table[column].tobytes())
        if known_as is None:
            return None
        found.append((int(column), *known_as))
    if not found or len({(name, first) for _, name, first, _ in found}) != 1:
        return None
    _, name, first, _ = found[0]
    columns = tuple((column, bit) for column, _, _, bit in found)
    return Piece(memory=name, first=first, stride=stride, columns=columns)


def _check_whole(pieces: Mapping[Key, Piece], marked: Contents) -> None:
    there = {name: np.zeros(bits.shape, bool) for name, bits in marked.items()}
    for piece in pieces.values():
        end = piece.first + (1 << (14 - piece.stride))
        there[piece.memory][piece.first : end, [bit for _, bit in piece.columns]] = True
    for name, seen in there.items():
        if not seen.all():
            raise SetunError(
                f"memory {name}",
                "must lie in block RAM, each bit of it",
                f"{int((~seen).sum())} of {seen.size} bits do not",
            )


def fill(pieces: Mapping[Key, Piece], contents: Contents) -> dict[Key, Block]:
    """The blocks with these contents instead; SetunError where a piece reaches beyond them."""
    filled = {}
    for key, piece in pieces.items():
        block = np.zeros((BYTES, 9), np.uint8)
        words = rows(block, piece.stride)
        if piece.memory not in contents:
            raise SetunError(f"block RAM {key}", "must hold a memory of the chip", piece.memory)
        memory: Bits = contents[piece.memory]
        part = memory[piece.first : piece.first + len(words)]
        places, bits = zip(*piece.columns, strict=True)
        if max(places) >= words.shape[1] or max(bits) >= memory.shape[1] or not len(part):
            raise SetunError(f"block RAM {key}", "must hold bits of its memory", piece.memory)
        words[: len(part), list(places)] = part[:, list(bits)]
        if piece.stride < 3:  # a copy: the bytes' first eight bits are not one array
            block[:, :8] = words.reshape(BYTES, 8)
        filled[key] = block
    return filled
