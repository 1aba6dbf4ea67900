"""What block RAM holds of a model: bit by bit, and as marks that can be recognised again."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.memory_layout import MemoryLayout, Space
from setun.firmware.memory_kinds import Loading
from setun.hw.emit.verilog import memory_contents
from setun.hw.fpga.flow.bit_map import Bits
from setun.hw.memory.blocks import segments
from setun.hw.memory.spaces import Shape, shapes

LOADED = (Space.PROGRAM, Space.WEIGHTS, Space.CONSTANTS, Space.GATES, Space.TEXT)
TRIES = 1 << 12


def in_bitstream(config: ChipConfig) -> bool:
    """Whether the chip wakes up with its model: what lies in block RAM comes with the bitstream.

    Weights in flash are there already; those in RAM outside are gone without power.
    """
    return config.memory_kind.loading is not Loading.LINK


def contents(config: ChipConfig, layout: MemoryLayout) -> dict[str, Bits]:
    """Bits of each memory that holds a part of the model."""
    found = {}
    for name, memory in memory_contents(config, layout).items():
        size = -(-memory.width // 8)
        raw = b"".join(int(word).to_bytes(size, "little") for word in memory.words)
        rows = np.frombuffer(raw, np.uint8).reshape(-1, size)
        found[name] = np.unpackbits(rows, axis=1, bitorder="little")[:, : memory.width]
    return found


def _marked(name: str, depth: int, width: int, taken: set[int]) -> Bits:
    """Bits of which no column is zero or in `taken`, which gets them; pseudo-random of `name`."""
    bits = np.zeros((depth, width), np.uint8)
    for column in range(width):
        for salt in range(TRIES):
            raw = hashlib.shake_128(f"{name} {column} {salt}".encode()).digest(-(-depth // 8))
            number = int.from_bytes(raw, "little") & ((1 << depth) - 1)
            if number and number not in taken:
                break
        else:
            raise SetunError(f"memory {name}", "must be deep enough to tell its bits apart", depth)
        taken.add(number)
        bits[:, column] = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")[:depth]
    return bits


def markable(config: ChipConfig) -> bool:
    """Whether there are `marks` for such a chip."""
    try:
        marks(config)
    except SetunError:
        return False
    return True


def _link_words(shape: Shape, bits: Bits) -> NDArray[np.uint32]:
    """What the link would write, address by address: the inverse of `Shape.words`."""
    parts = bits.reshape(len(bits), shape.elements, shape.element).astype(np.uint32)
    values = (parts << np.arange(shape.element, dtype=np.uint32)).sum(2, dtype=np.uint32)
    stride = 1 << (shape.elements - 1).bit_length()
    padded = np.zeros((len(bits), stride), np.uint32)
    padded[:, : shape.elements] = values
    return padded.ravel()


def marks(config: ChipConfig) -> MemoryLayout:
    """Words for every memory of the chip that holds a part of the model, by which to find it again.

    Each bit column of each memory is told by its bits.

    They depend on the configuration alone.

    Raises
    ------
    SetunError
        A memory has too few words for as many different columns as it is wide.
    """
    taken: set[int] = set()
    spaces = {}
    known = shapes(config)
    for space in LOADED:
        if space not in known:
            continue
        shape = known[space]
        parts = []
        for k, depth in enumerate(segments(shape.depth, shape.width)):
            parts.append(_marked(f"{space.name.lower()}{k}", depth, shape.width, taken))
        spaces[space] = _link_words(shape, np.concatenate(parts)[: shape.depth])
    return MemoryLayout(spaces)
