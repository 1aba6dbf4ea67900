"""A whole model in an external memory: what a chip reads of it, and in which order.

=============== ============================================================================
part            holds
=============== ============================================================================
front           a MODEL record; gains, gates and turns of RoPE that stay on the chip; a TOKEN
                record
token           what each token reads, in `setun.firmware.image.stream_order`'s order
embedding       a row a token, 32 bits a number, each from a whole beat on
=============== ============================================================================

The first two are records (`setun.firmware.image.records`). The token's begin at a multiple of
`BURST` beats. Blocks of gains that do not stay on the chip alternate between two places of its
store, and so do gates.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from setun.firmware.config import ChipConfig
from setun.firmware.image.array_words import matrix_words, packed_words
from setun.firmware.image.image import Image, Region, aligned
from setun.firmware.image.matrix import blocks_of
from setun.firmware.image.records import (
    BURST,
    INSTRUCTION_BITS,
    Kind,
    header,
    record,
    unit_bits,
    units_of,
)
from setun.firmware.image.stream_order import AHEAD, GAINED, Item, Piece, stream_order
from setun.firmware.image.turns import turn_words
from setun.firmware.program.isa import WIDE, Instruction, Op, Table
from setun.firmware.program.kernels import Port

CONTAINER = 4
"""Bytes of a number in an external memory."""
HASH_BYTES = 12
"""Of a model's hash, `Image.model_hash`."""
RESIDENT_PAIRS = 8192
"""Gains stay on the chip where it needs no more pairs for all of them."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Blocks:
    """Where blocks of numbers lie in a store of the chip.

    word
        Numbers of a word of the store.
    kept
        Whether all of them stay there.
    users
        Instruction whose block it is, to the block's first word.
    words
        Words of the store that they take.
    """

    word: int
    kept: bool
    users: dict[int, int]
    words: int


def _blocks(sizes: dict[int, int], word: int, unit: int, most: int) -> Blocks:
    """Places for blocks of `sizes` numbers: one behind the other if `most` words hold them all."""
    grain = max(1, unit // (8 * CONTAINER * word))  # words of a unit
    words = {user: -(-size // (word * grain)) * grain for user, size in sizes.items()}
    if sum(words.values()) <= most:
        starts, end = {}, 0
        for user, count in words.items():
            starts[user] = end
            end += count
        return Blocks(word, True, starts, end)
    turns = [list(words.items())[turn::AHEAD] for turn in range(AHEAD)]
    starts, end = {}, 0
    for turn in turns:
        starts |= {user: end for user, _ in turn}
        end += max((count for _, count in turn), default=0)
    return Blocks(word, False, dict(sorted(starts.items())), end)


@dataclass(frozen=True)
class ExternalModel:
    """A model laid out for the external memory of one chip.

    Parameters
    ----------
    image
        The model.
    config
        The chip; its lanes, array, packing and memory decide the layout.
    """

    image: Image
    config: ChipConfig

    @property
    def unit(self) -> int:
        """Bits of a unit."""
        return unit_bits(self.config.beat)

    @property
    def beginning(self) -> int:
        """Bytes of the record that names the model."""
        return (1 + units_of(HASH_BYTES, self.unit)) * self.unit // 8

    def gains(self) -> Blocks:
        """Blocks of pairs; a word is V outer gains and V gains."""
        sizes = {
            k: 2 * self._padded(_gained(i))
            for k, i in enumerate(self.image.program)
            if i.op in GAINED
        }
        return _blocks(sizes, 2 * self.config.lanes, self.unit, RESIDENT_PAIRS // self.config.lanes)

    def turns(self) -> NDArray[np.uint32]:
        """Increments of RoPE, which lie behind all gains and stay there; words as gains'."""
        return turn_words(self.image, self.config.lanes)

    def gates(self) -> Blocks:
        """Blocks of gates; a word is V of them."""
        sizes = {
            k: self._padded(i.n)
            for k, i in enumerate(self.image.program)
            if i.op is Op.MATVEC and Port.GATES in i.kernel.reads
        }
        return _blocks(
            sizes, self.config.lanes, self.unit, RESIDENT_PAIRS // (2 * self.config.lanes)
        )

    def _padded(self, n: int) -> int:
        return -(-n // self.config.lanes) * self.config.lanes

    @property
    def row_beats(self) -> int:
        """Beats from one embedding row to the next."""
        width = self.image.tables[Table.EMBEDDING].shape[1]
        return units_of(self._padded(width) * CONTAINER, self.config.beat)

    def front(self) -> Bytes:
        """The records that are read once, up to the token's."""
        unit, gains, gates = self.unit, self.gains(), self.gates()
        digest = np.frombuffer(bytes.fromhex(self.image.model_hash), np.uint8)
        parts = [record(header(Kind.MODEL, units_of(digest.size, unit)), digest, unit)]
        for blocks, kind in ((gains, Kind.GAINS), (gates, Kind.GATES)):
            if blocks.kept:
                parts += [self._block(kind, blocks, user) for user in blocks.users]
        if (turns := self.turns()).size:
            parts.append(self._numbers(Kind.GAINS, turns, gains.words * gains.word))
        bursts = self._front()[-1].end // (BURST * self.config.beat // 8)
        head = header(Kind.TOKEN, 0, bursts, gains=gains.kept, gates=gates.kept)
        parts.append(record(head, np.zeros(0, np.uint8), unit))
        have = sum(part.size for part in parts)
        parts.append(np.zeros(bursts * BURST * self.config.beat // 8 - have, np.uint8))
        return np.concatenate(parts)

    def _front(self) -> list[Region]:
        """Its parts, in bytes, the last one up to a multiple of `BURST` beats."""
        parts = [Region("model", 0, self.beginning)]
        for kind, blocks, numbers in (("gains", self.gains(), 2), ("gates", self.gates(), 1)):
            if blocks.kept:
                users = (self.image.program[k] for k in blocks.users)
                sizes = (numbers * self._padded(_gained(i)) for i in users)
                units = sum(1 + units_of(n * CONTAINER, self.unit) for n in sizes)
                parts.append(Region(kind, parts[-1].end, units * self.unit // 8))
        if turns := self.turns().size:
            units = 1 + units_of(turns * CONTAINER, self.unit)
            parts.append(Region("turns", parts[-1].end, units * self.unit // 8))
        begin = parts[-1].end
        end = aligned(begin + self.unit // 8, BURST * self.config.beat // 8)
        return [*parts, Region("token", begin, end - begin)]

    def regions(self) -> list[Region]:
        """What lies where, in bytes from the memory's first one: all of it, front to back.

        "model" names it, "gains", "gates" and "turns" are those that stay on the chip, "token"
        tells where "records" begin: all that a token reads but for its row of the "embedding".
        """
        parts = self._front()
        rows = self.first_row() * self.config.beat // 8
        parts.append(Region("records", parts[-1].end, rows - parts[-1].end))
        return [*parts, Region("embedding", rows, self.filled() - rows)]

    def token(self, first_row: int) -> Iterator[Bytes]:
        """The records of a token; `first_row` is the beat at which the embedding begins."""
        unit = self.unit
        size, gains, gates = unit // 8, self.gains(), self.gates()
        program = self.program(gains, gates, first_row)
        weights = _Weights(self, size)
        for item in stream_order(program, gains=not gains.kept, gates=not gates.kept):
            if item.piece is Piece.INSTRUCTIONS:
                yield self._instructions(program, item)
            elif item.piece is Piece.GAINS:
                yield self._block(Kind.GAINS, gains, item.first)
            elif item.piece is Piece.GATES:
                yield self._block(Kind.GATES, gates, item.first)
            else:
                units = weights.units()
                yield record(header(Kind.WEIGHTS, units.size // size), units, unit)
        yield record(header(Kind.STOP), np.zeros(0, np.uint8), unit)

    def embedding(self) -> Iterator[Bytes]:
        """The rows, some at a time."""
        table = self.image.tables[Table.EMBEDDING]
        numbers = self.row_beats * self.config.beat // (8 * CONTAINER)
        for part in blocks_of(*table.shape):
            rows = np.zeros((part.stop - part.start, numbers), "<u4")
            rows[:, : table.shape[1]] = self.config.vector.to_bits(table[part])
            yield rows.view(np.uint8).ravel()

    def first_row(self) -> int:
        """The beat at which the embedding begins: the first behind the token's records."""
        size = self.unit // 8
        front = self._front()[-1].end
        gains, gates = self.gains(), self.gates()
        program = self.image.program
        units = 1  # STOP
        ends = 0
        matrices = iter(self.image.matrices)
        for item in stream_order(program, gains=not gains.kept, gates=not gates.kept):
            units += 1
            if item.piece is Piece.INSTRUCTIONS:
                units += (item.last - item.first) * max(1, INSTRUCTION_BITS // self.unit)
            elif item.piece is Piece.WEIGHTS:
                ends += matrix_words(next(matrices), self.config) * self.config.weight_bits // 8
            else:
                n = self._padded(_gained(program[item.first])) * (
                    2 if item.piece is Piece.GAINS else 1
                )
                units += units_of(n * CONTAINER, self.unit)
        units += -(-ends // size)
        return (front + units * size) * 8 // self.config.beat

    def filled(self) -> int:
        """Bytes of all parts."""
        rows = self.first_row() + len(self.image.tables[Table.EMBEDDING]) * self.row_beats
        return rows * self.config.beat // 8

    def size(self) -> int:
        """Bytes of all, in whole bursts."""
        return aligned(self.filled(), BURST * self.config.beat // 8)

    def token_bits(self) -> int:
        """Bits that a token reads: its records and a row of the embedding."""
        records = self.first_row() * self.config.beat - 8 * self._front()[-1].end
        return records + self.row_beats * self.config.beat

    def requirements(self) -> dict[str, int]:
        """What the chip must have for it, by option name."""
        lanes = self.config.lanes
        return {
            "memory_bytes": self.size(),
            "constant_pairs": max(1, self.gains().words + self._turn_words()) * lanes,
            "gate_elements": max(1, self.gates().words) * lanes,
        }

    def _turn_words(self) -> int:
        """Words of the store of gains that they take, in whole units."""
        grain = self.unit // (8 * CONTAINER)
        word = 2 * self.config.lanes
        return -(-aligned(self.turns().size, grain) // word)

    def words(self) -> NDArray[np.uint32]:
        """The whole memory as the link addresses it, 32 bits a word."""
        joined, end = np.zeros(aligned(self.filled(), CONTAINER), np.uint8), 0
        for part in self.contents():
            joined[end : end + part.size] = part
            end += part.size
        return joined.view("<u4")

    def contents(self) -> Iterator[Bytes]:
        """The whole memory from address 0, part by part, none larger than a matrix."""
        yield self.front()
        yield from self.token(self.first_row())
        yield from self.embedding()

    def program(self, gains: Blocks, gates: Blocks, first_row: int) -> list[Instruction]:
        """The program with this chip's addresses."""
        program = []
        for k, i in enumerate(self.image.program):
            if i.op is Op.EMBED:
                i = replace(i, constants=first_row, immediate=self.row_beats)
            elif i.op is Op.QUANTISE:
                # Pairs: the chip turns them into words of its lanes.
                i = replace(i, constants=gains.users[k] * self.config.lanes)
            elif i.op is Op.NORM:
                i = replace(i, immediate=gains.users[k] * self.config.lanes)
            elif i.op is Op.MATVEC:
                at = gates.users[k] * self.config.lanes if k in gates.users else 0
                i = replace(i, block=at)
            elif i.op is Op.ROTATE:
                i = replace(i, immediate=gains.words * self.config.lanes + i.immediate)
            elif i.op is Op.MODEL:
                i = Instruction(op=Op.MODEL)  # a record holds the hash
            program.append(i.adapted(self.config.numerics))
        return program

    def _instructions(self, program: list[Instruction], item: Item) -> Bytes:
        size = max(self.unit, INSTRUCTION_BITS) // 8
        words = np.zeros((item.last - item.first, size), np.uint8)
        for row, i in zip(words, program[item.first : item.last], strict=True):
            encoded = i.encode(self.config.vector, WIDE).astype("<u4")
            row[: INSTRUCTION_BITS // 8] = encoded.view(np.uint8)
        head = header(Kind.INSTRUCTIONS, words.size * 8 // self.unit)
        return record(head, words.ravel(), self.unit)

    def _block(self, kind: Kind, blocks: Blocks, user: int) -> Bytes:
        """A record of the gains or gates of instruction `user`."""
        i, v = self.image.program[user], self.config.lanes
        if kind is Kind.GAINS:
            count, start = _gained(i), int(i.immediate if i.op is Op.NORM else i.constants)
            pairs = np.zeros((self._padded(count), 2), np.float32)
            pairs[:count] = self.image.tables[Table.CONSTANTS][start : start + count]
            numbers = pairs.reshape(-1, v, 2).transpose(0, 2, 1).ravel()
        else:
            numbers = np.zeros(self._padded(i.n), np.float32)
            numbers[: i.n] = self.image.tables[Table.GATES][i.dst : i.dst + i.n]
        bits = self.config.vector.to_bits(numbers)
        return self._numbers(kind, bits, blocks.users[user] * blocks.word)

    def _numbers(self, kind: Kind, numbers: NDArray[np.uint32], first: int) -> Bytes:
        """A record of numbers for a store, from number `first` of it on."""
        payload = numbers.astype("<u4").view(np.uint8)
        head = header(kind, units_of(payload.size, self.unit), first * CONTAINER * 8 // self.unit)
        return record(head, payload, self.unit)


def _gained(i: Instruction) -> int:
    """Gains, or gates, that an instruction takes: all heads have the same gains."""
    return i.block if i.op is Op.NORM else i.n


class _Weights:
    """All matrices' weight words as one run of bytes, in pieces of whole units.

    A piece ends with the unit that completes its matrix; the next matrix begins in it.
    """

    def __init__(self, model: ExternalModel, size: int) -> None:
        self.matrices = iter(model.image.matrices)
        self.config, self.size = model.config, size
        self.held = np.zeros(0, np.uint8)  # read and not yet given
        self.given = self.read = 0  # bytes
        self.ends: deque[int] = deque()  # of the matrices read whose pieces are to come

    def units(self) -> Bytes:
        """The next matrix's piece."""
        if not self.ends:
            self._read()
        until = -(-self.ends.popleft() // self.size) * self.size
        while self.read < until:
            if not self._read():
                self.held = np.concatenate([self.held, np.zeros(until - self.read, np.uint8)])
                break
        piece, self.held = np.split(self.held, [until - self.given])
        self.given = until
        return piece

    def _read(self) -> bool:
        """Pack another matrix, if there is one."""
        matrix = next(self.matrices, None)
        if matrix is None:
            return False
        self.held = np.concatenate([self.held, packed_words(matrix, self.config).ravel()])
        self.read = self.given + self.held.size
        self.ends.append(self.read)
        return True


def in_blocks(parts: Iterable[Bytes], size: int) -> Iterator[Bytes]:
    """The same bytes, `size` at a time; the last ones are fewer."""
    held: list[Bytes] = []
    have = 0
    for part in parts:
        held.append(part)
        have += part.size
        while have >= size:
            joined = np.concatenate(held)
            yield joined[:size]
            held, have = [joined[size:]], have - size
    if have:
        yield np.concatenate(held)


def told_hash(words: NDArray[np.uint32], unit: int) -> str | None:
    """The hash of the model in a memory that begins with `words`; None if it holds no model.

    `words` are those of the header's unit and `HASH_BYTES` at least; `unit` its bits.
    """
    if int(words[0]) & 0xF != Kind.MODEL:
        return None
    return words.astype("<u4").tobytes()[unit // 8 :][:HASH_BYTES].hex()
