"""What a chip's memories hold: which model, whether it is this one, and how another gets there."""

import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.external import HASH_BYTES, told_hash
from setun.firmware.image.memory_layout import MemoryLayout, Space, Words
from setun.firmware.image.records import unit_bits
from setun.firmware.link.client import ChipClient
from setun.firmware.program.isa import WORDS, Op

Progress = Callable[[int, int], None]  # words written, words in all


def load(client: ChipClient, layout: MemoryLayout, progress: Progress = lambda n, of: None) -> None:
    """Write `layout` to the chip and verify it by CRC.

    What names the model is blanked before and written last: a load cut short leaves a chip that
    refuses to run, not one that runs half a model. A flash that holds its words already is left
    as it is: erasing takes long and wears it.
    """
    first, head = layout.first, layout.beginning
    total, done = sum(len(words) for words in layout.spaces.values()), 0
    if layout.sector and holds(client, Space.WEIGHTS, layout.spaces[Space.WEIGHTS]):
        total -= len(layout.spaces[Space.WEIGHTS])
        layout = replace(layout, spaces=layout.spaces.copy(), beginning=0)
        del layout.spaces[Space.WEIGHTS]

    def write(space: Space, start: int, words: Words) -> None:
        nonlocal done
        before = done
        client.write(
            space,
            start,
            words,
            lambda n, _: progress(before + n, total),
            sector=layout.sector if space is Space.WEIGHTS else 0,
        )
        verify(client, space, words, start)
        done += len(words)

    if layout.beginning:
        blank = np.zeros(WORDS, np.uint32)
        client.write(first, 0, blank, sector=layout.sector if first is Space.WEIGHTS else 0)
    for space, words in layout.spaces.items():
        begins = head if space is first else 0
        if len(words) > begins:
            write(space, begins, words[begins:])
    if layout.beginning:
        write(first, 0, layout.spaces[first][:head])
    progress(total, total)


def checksum(words: Words) -> int:
    """CRC of memory contents, as the chip computes it."""
    return zlib.crc32(words.astype("<u4").tobytes())


def holds(client: ChipClient, space: Space, words: Words) -> bool:
    """Whether the chip's memory has the CRC of `words`."""
    return client.crc(space, 0, len(words)) == checksum(words)


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
    return [space for space in spaces if not holds(client, space, layout.spaces[space])]
