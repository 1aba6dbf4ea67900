"""Image to memory contents of one chip: the words of every space, in the chip's layout.

========= ===== ==============================================================
space     index one 32-bit word of the link's address space holds
========= ===== ==============================================================
program   0     a quarter of an instruction
weights   1     32 bits of a weight word; words start at powers of two, but
                follow each other byte by byte in single-port RAM; or of an
                external memory
constants 2     one number: V outer gains, then V gains, and so on; embedding
                rows lie behind them, element after element
state     3     one number of the recurrent state; contexts lie
                `ChipConfig.state_stride` apart
gates     4     one number, the most that a state forgets, at its state's address
vector    5     one number of vector memory (for debugging)
text      6     a byte of `setun.firmware.image.terminal_tables`: the terminal's tables
cache     7     one code, or behind the C codes of a word their head's exponent
                field (for debugging); words start at powers of two
========= ===== ==============================================================

Matrices follow each other in execution order, in words of `setun.firmware.image.array_words`. Of a
chip that streams its model the space of weights is the whole external memory
(`setun.firmware.image.external`), and there is neither program, constants nor gates.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from setun.firmware import attention_options
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.array_words import matrix_words, packed_words, weight_words
from setun.firmware.image.external import ExternalModel, in_blocks
from setun.firmware.image.image import Image, aligned
from setun.firmware.image.terminal_tables import text_words
from setun.firmware.image.turns import turn_words
from setun.firmware.program import machine
from setun.firmware.program.isa import WORDS, Op, Table

Words = NDArray[np.uint32]


class Space(IntEnum):
    """Address spaces of the link's memory port."""

    PROGRAM = 0
    WEIGHTS = 1
    CONSTANTS = 2
    STATE = 3
    GATES = 4
    VECTOR = 5
    TEXT = 6
    CACHE = 7


class _Streamed(Mapping[Space, Words]):
    """Spaces of a chip that streams its model, which is too large to be held."""

    def __init__(self, model: ExternalModel, others: dict[Space, Words]) -> None:
        self._model, self._others = model, others

    def __getitem__(self, space: Space) -> Words:
        return self._model.words() if space is Space.WEIGHTS else self._others[space]

    def __iter__(self) -> Iterator[Space]:
        yield Space.WEIGHTS
        yield from self._others

    def __len__(self) -> int:
        return 1 + len(self._others)


BLOCK_WORDS = 1 << 18
"""Of a space that is laid out, sent and verified piece by piece; whole sectors of any flash."""


@dataclass(frozen=True)
class MemoryLayout:
    """Contents of the loadable spaces as the link addresses them: uint32, from address 0.

    sector
        Of a flash behind the space of weights: words that are erased together.
    external
        What the space of weights holds on a chip that streams its model; `spaces` lays all of it
        out whenever it is asked for that space.
    beginning
        Words of the program, or of an external memory, without which the chip refuses to run, the
        model's hash among them.
    """

    spaces: Mapping[Space, Words]
    sector: int = 0
    beginning: int = WORDS
    external: ExternalModel | None = None

    @property
    def total(self) -> int:
        """Words of all spaces."""
        return sum(map(self.size, self.spaces))

    def size(self, space: Space) -> int:
        """Words of a space."""
        if self.external and space is Space.WEIGHTS:
            return aligned(self.external.filled(), 4) // 4
        return len(self.spaces[space])

    def blocks(self, space: Space) -> Iterator[tuple[int, Words]]:
        """A space cut into `BLOCK_WORDS`, each with its first address; laid out as they come."""
        if self.external and space is Space.WEIGHTS:
            parts = in_blocks(self.external.contents(), 4 * BLOCK_WORDS)
            blocks = (np.append(p, np.zeros(-p.size % 4, np.uint8)).view("<u4") for p in parts)
            yield from ((k * BLOCK_WORDS, words) for k, words in enumerate(blocks))
            return
        words = self.spaces[space]
        for start in range(0, len(words), BLOCK_WORDS):
            yield start, words[start : start + BLOCK_WORDS]

    def crc(self, space: Space) -> int:
        """zlib.crc32 of a space's words, little endian: what the chip answers for all of them."""
        value = 0
        for _, words in self.blocks(space):
            value = zlib.crc32(words.astype("<u4", copy=False).data.cast("B"), value)
        return value

    @property
    def first(self) -> Space:
        """The space that has the beginning."""
        return Space.PROGRAM if Space.PROGRAM in self.spaces else Space.WEIGHTS


def weight_stride(config: ChipConfig) -> int:
    """32-bit words from one weight word to the next: a power of two."""
    words = -(-config.weight_bits // 32)
    return 1 << (words - 1).bit_length()


def bound_cycles(image: Image, config: ChipConfig, positions: float = 0) -> int:
    """Cycles that all a token must read takes at the memory's full rate: nothing can be faster.

    Keys and values of `positions` are among it, wherever they lie: a token attends to them before
    it reads the weights behind.
    """
    cached = attention_options.cached_words(image, config) * positions
    if config.streams:
        bits = ExternalModel(image, config).token_bits()
        if config.outer_cache:
            bits += round(cached * 8 * (config.attention + 1))
            cached = 0
        return -(-bits // config.weight_port) + round(cached)
    weights = -(-weight_words(image, config) * config.weight_bits // config.weight_port)
    return weights + round(cached)


def weight_share(image: Image, config: ChipConfig) -> float:
    """Weights among all that a token reads."""
    if not config.streams:
        return 1.0
    weights = weight_words(image, config) * config.weight_bits
    return weights / ExternalModel(image, config).token_bits()


def requirements(image: Image, config: ChipConfig) -> dict[str, int]:
    """What `image` needs of each sized resource of a chip with these lanes, by option name.

    No model of so many tokens is one of single characters, so its chip has no terminal.

    Raises
    ------
    SetunError
        The program needs units that the chip's core has not.
    """
    config.core.check_program(image.program)
    turns = image.tables.get(Table.ROPE, ())
    columns = max(m.columns for m in image.matrices)
    needed = {
        "token_bits": 16,
        "five_trits": int(any(m.planes > 1 for m in image.matrices)),
        "vector_elements": image.memory.vector_elements,
        "state_elements": max(1, image.memory.state_elements),  # a chip has some
        "max_columns": aligned(columns, config.columns),
    }
    needed |= attention_options.needed(image, config)
    if image.vocab_size > 1 << 16:
        needed |= {"token_bits": 18, "terminal": 0}
    if config.streams:
        return ExternalModel(image, config).requirements() | needed
    vocabulary, width = image.tables[Table.EMBEDDING].shape
    pairs = len(image.tables[Table.CONSTANTS]) + vocabulary * aligned(width) // 2
    pairs += aligned(len(turns), config.lanes)
    return {
        "weight_words": weight_words(image, config),
        "constant_pairs": pairs,
        "instructions": len(image.program),
        **needed,
    }


def sized_for(image: Image, config: ChipConfig) -> ChipConfig:
    """`config` with memories just large enough for `image`."""
    config = attention_options.equipped(image, config)
    return config.override(**requirements(image, config))


def check_fit(image: Image, config: ChipConfig) -> None:
    """Refuse a model that does not fit, naming every resource it is short of."""
    needed = requirements(image, config)
    short = [
        f"{name} {n} of {getattr(config, name)}"
        for name, n in needed.items()
        if n > getattr(config, name)
    ]
    if short:
        raise SetunError(
            "model",
            "must fit the chip (needed of available)",
            ", ".join(short),
            "build a larger chip or choose a smaller model",
        )
    attention_options.check_positions(image, config)


def lay_out(image: Image, config: ChipConfig) -> MemoryLayout:
    """Memory contents of `image` for `config`; refuses what does not fit. Deterministic."""
    check_fit(image, config)
    # Written for other models too: what was there before would be another model's.
    text = {Space.TEXT: text_words(image, config.vector)} if config.terminal else {}
    if config.streams:
        model, sector = ExternalModel(image, config), config.memory_kind.sector // 4
        return MemoryLayout(
            _Streamed(model, text), sector, sector or model.beginning // 4, external=model
        )
    gates = image.tables.get(Table.GATES)
    return MemoryLayout(
        {
            Space.PROGRAM: np.concatenate(_program(image, config)).astype(np.uint32),
            Space.WEIGHTS: _weights(image, config),
            Space.CONSTANTS: _constants(image, config),
            **({} if gates is None else {Space.GATES: config.vector.to_bits(gates)}),
            **text,
        }
    )


def _program(image: Image, config: ChipConfig) -> list[Words]:
    """The instructions; a MATVEC tells how many weight words of this chip it takes."""
    encoded = []
    for step in machine.steps(image):
        instruction = step.do
        if step.matrix:
            instruction = replace(instruction, block=matrix_words(step.matrix, config))
        if instruction.op is Op.ROTATE:
            instruction = replace(instruction, immediate=_turns_at(image) + instruction.immediate)
        encoded.append(instruction.adapted(config.numerics).encode(config.vector))
    return encoded


def _weights(image: Image, config: ChipConfig) -> Words:
    packed = np.concatenate([packed_words(m, config) for m in image.matrices])
    if config.external:
        joined = np.zeros(aligned(packed.size, 4), np.uint8)
        joined[: packed.size] = packed.ravel()
        return joined.view("<u4").astype(np.uint32)
    stride = np.zeros((len(packed), 4 * weight_stride(config)), np.uint8)
    stride[:, : packed.shape[1]] = packed
    return stride.reshape(-1).view("<u4").astype(np.uint32)


def _constants(image: Image, config: ChipConfig) -> Words:
    pairs = image.tables[Table.CONSTANTS].reshape(-1, config.lanes, 2).transpose(0, 2, 1)
    embedding = image.tables[Table.EMBEDDING]
    vocabulary, width = embedding.shape
    rows = np.zeros((vocabulary, aligned(width)), np.float32)
    rows[:, :width] = embedding
    numbers = config.vector.to_bits(np.concatenate([pairs.ravel(), rows.ravel()]))
    return np.concatenate([numbers, turn_words(image, config.lanes)])


def _turns_at(image: Image) -> int:
    """Pair of constant memory where RoPE's increments begin: behind the embedding."""
    vocabulary, width = image.tables[Table.EMBEDDING].shape
    return len(image.tables[Table.CONSTANTS]) + vocabulary * aligned(width) // 2
