"""A model ready for any chip: program, matrices, tables and the memory that they use.

Nothing here says which architecture the model has, or which chip runs it: the program is all that
golden model, memory layout and gateware go by.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from setun.firmware.image.matrix import Matrix
from setun.firmware.models.chat import Chat
from setun.firmware.program.isa import Instruction, Table

ALIGN = 64
"""Vectors and states start at multiples of this many elements, gains of half as many pairs."""

Floats = NDArray[np.float32]


def aligned(n: int, to: int = ALIGN) -> int:
    """The next multiple of `to` at or above n."""
    return -(-n // to) * to


@dataclass(frozen=True)
class Region:
    """A named run: elements of a memory, or instructions of a program."""

    name: str
    start: int
    size: int

    @property
    def end(self) -> int:
        """The first behind it."""
        return self.start + self.size

    @property
    def slice(self) -> slice:
        """The index of its elements."""
        return slice(self.start, self.end)


@dataclass(frozen=True)
class MemoryMap:
    """What a program uses of each memory, in elements; regions start at multiples of `ALIGN`, those
    of the cache anywhere.

    vectors
        Of a token: what its instructions hand to each other.
    state
        Of a conversation: what stays from token to token.
    cache
        Of each position of a conversation: what later ones attend to.
    positions
        Tokens that a conversation may have; 0 where the model has no cache, and no limit.
    """

    vectors: tuple[Region, ...]
    state: tuple[Region, ...] = ()
    cache: tuple[Region, ...] = ()
    positions: int = 0

    @property
    def vector_elements(self) -> int:
        """Elements of vector memory up to the last region's end, alignment included."""
        return max((aligned(r.end) for r in self.vectors), default=0)

    @property
    def cache_elements(self) -> int:
        """Elements of a position of the cache."""
        return max((r.end for r in self.cache), default=0)

    @property
    def state_elements(self) -> int:
        """Elements of recurrent state, likewise."""
        return max((aligned(r.end) for r in self.state), default=0)


@dataclass(frozen=True, kw_only=True)
class Image:
    """A compiled model, independent of the chip's lanes and number format.

    name
        The model's, for display.
    vocab_size
        Token ids are below it.
    program
        A body that feeds a token, and a head that samples one; see `setun.firmware.program.isa`.
    layers
        Parts of the body, by instruction. Cut behind any of them, the head following, it is a
        program still.
    matrices
        In execution order: a token reads them once, front to back.
    tables
        Float32 numbers that instructions address; those that the program reads.
    memory
        Where vectors and states lie.
    packing
        How a file stores the weights.
    model_hash
        `setun.firmware.image.model_hash`'s, 24 hexadecimal digits.
    end_tokens
        Ids that end a text, sorted; what the model computes does not depend on them.
    chat
        How it has conversations; None for a model that has none.
    """

    name: str
    vocab_size: int
    program: tuple[Instruction, ...]
    layers: tuple[Region, ...]
    matrices: tuple[Matrix, ...]
    tables: Mapping[Table, Floats]
    memory: MemoryMap
    tokenizer_json: str | None = None
    packing: str = "2b"
    model_hash: str = ""
    end_tokens: tuple[int, ...] = ()
    chat: Chat | None = None

    @property
    def weights(self) -> int:
        """Weights that one token reads."""
        return sum(m.rows * m.columns for m in self.matrices)

    @property
    def bits_per_weight(self) -> float:
        """What a weight takes in a file, padding included."""
        return 8 * sum(m.rows * m.row_bytes(self.packing) for m in self.matrices) / self.weights
