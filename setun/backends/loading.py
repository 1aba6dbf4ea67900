"""What a chip's memories hold: which model, whether it is this one, and how another gets there."""

import zlib
from collections.abc import Callable
from typing import Protocol

import numpy as np

from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.external import HASH_BYTES, told_hash
from setun.firmware.image.memory_layout import MemoryLayout, Space, Words
from setun.firmware.image.records import unit_bits
from setun.firmware.link.client import ChipClient
from setun.firmware.program.isa import WORDS, Op

Progress = Callable[[int, int], None]  # words written, words in all
PROBE = 1024
"""Words of a block that tell another model's at once."""


class Memory(Protocol):
    """Memory outside the chip that the host reaches itself, as `setun.firmware.link.mapped` has."""

    def fill(self, first: int, words: Words, /) -> None:
        """Write words from byte `first` of the model on."""


def load(
    client: ChipClient,
    layout: MemoryLayout,
    progress: Progress = lambda n, of: None,
    memory: Memory | None = None,
) -> None:
    """Write `layout` to the chip, verified by CRC while it is written.

    What lies outside the chip goes through `memory`, where there is one, and the chip is asked for
    its CRC.

    What names the model is blanked before and written last: a load cut short leaves a chip that
    refuses to run, not one that runs half a model. Blocks from the first on that an external memory
    holds already are left as they are: a load that was cut short goes on. So is a flash that holds
    all: erasing takes long and wears it.
    """
    first, head = layout.first, layout.beginning
    whole = layout.sector and holds(client, layout, Space.WEIGHTS)
    spaces = [space for space in layout.spaces if not whole or space is not Space.WEIGHTS]
    total, done = layout.total, 0

    def write(space: Space, start: int, words: Words) -> None:
        if memory is not None and space is Space.WEIGHTS:
            memory.fill(4 * start, words)
            verify(client, space, words, start)
            return
        sector = layout.sector if space is Space.WEIGHTS else 0
        told = client.write(
            space,
            start,
            words,
            lambda n, _: progress(done + n, total),
            sector=sector,
            summed=True,
        )
        for address, count in told:
            verify(client, space, words[address - start : address - start + count], address)

    begins = head and first in spaces
    if begins:
        sector = layout.sector if first is Space.WEIGHTS else 0
        client.write(first, 0, np.zeros(WORDS, np.uint32), sector=sector)
    beginning = np.zeros(0, np.uint32)
    for space in spaces:
        there = layout.external is not None and space is Space.WEIGHTS
        for start, words in layout.blocks(space):
            if space is first and start == 0:
                beginning, words, start = words[:head], words[head:], head
            there = there and same(client, space, words[:PROBE], start)
            there = there and same(client, space, words, start)
            if len(words) and not there:
                write(space, start, words)
            done += len(words)
            progress(done, total)
    if begins:
        write(first, 0, beginning)
    progress(total, total)


def checksum(words: Words) -> int:
    """CRC of memory contents, as the chip computes it."""
    return zlib.crc32(words.astype("<u4", copy=False).data.cast("B"))


def same(client: ChipClient, space: Space, words: Words, start: int = 0) -> bool:
    """Whether the chip's memory has the CRC of `words` from `start` on."""
    return client.crc(space, start, len(words)) == checksum(words)


def holds(client: ChipClient, layout: MemoryLayout, space: Space) -> bool:
    """Whether the chip's memory has the CRC of all that `layout` has for it."""
    return all(same(client, space, words, start) for start, words in layout.blocks(space))


def verify(client: ChipClient, space: Space, words: Words, start: int = 0) -> None:
    """Refuse memory contents from `start` on whose CRC, by the chip, is not that of `words`."""
    wanted, found = checksum(words), client.crc(space, start, len(words))
    if found != wanted:
        raise SetunError(
            f"{space.name.lower()} memory",
            f"must read back with CRC {wanted:08x}",
            f"{found:08x}",
            "load again; lower the baud rate if it persists",
        )


def compare(client: ChipClient, layout: MemoryLayout) -> dict[str, str]:
    """CRC of each space that `layout` has, by its name, 8 hexadecimal digits: as the chip reads it.

    Raises
    ------
    SetunError
        One is not the model's.
    """
    found = {}
    for space in layout.spaces:
        wanted, read = layout.crc(space), client.crc(space, 0, layout.size(space))
        found[space.name.lower()] = f"{read:08x}"
        if read != wanted:
            raise SetunError(
                f"{space.name.lower()} memory",
                f"must have the model's CRC {wanted:08x}",
                f"{read:08x}",
                "setun load MODEL writes it",
            )
    return found


def loaded_hash(client: ChipClient, config: ChipConfig) -> str | None:
    """Hash of the model that the chip holds, as its memory's beginning tells it.

    None where that is blank: no model was loaded, or a load was cut short.
    """
    if config.streams:
        unit = unit_bits(config.beat)
        return told_hash(client.read(Space.WEIGHTS, 0, (unit // 8 + HASH_BYTES) // 4), unit)
    first = client.read(Space.PROGRAM, 0, WORDS)
    return first[1:].astype("<u4").tobytes().hex() if int(first[0]) & 0xF == Op.MODEL else None


def differing(client: ChipClient, layout: MemoryLayout, *, weights: bool) -> list[Space]:
    """Spaces whose contents are not those of `layout`, by CRC; without `weights` all but them.

    Weights in block RAM may be passed over where the program agrees: it is written after them,
    and lost with them.
    """
    spaces = [space for space in layout.spaces if weights or space is not Space.WEIGHTS]
    return [space for space in spaces if not holds(client, layout, space)]
