"""What a chip's memories hold: which model, whether it is this one, and how another gets there."""

import zlib
from collections.abc import Callable

import numpy as np

from setun.firmware.errors import SetunError
from setun.firmware.image.memory_layout import MemoryLayout, Space, Words
from setun.firmware.link.client import ChipClient
from setun.firmware.program.isa import WORDS, Op

Progress = Callable[[int, int], None]  # words written, words in all


def load(client: ChipClient, layout: MemoryLayout, progress: Progress = lambda n, of: None) -> None:
    """Write `layout` to the chip and verify it by CRC.

    The first instruction is blanked before and written last: a load cut short leaves a chip that
    refuses to run, not one that runs half a model. A flash that holds its words already is left
    as it is: erasing takes long and wears it.
    """
    client.write(Space.PROGRAM, 0, np.zeros(WORDS, np.uint32))
    order = [s for s in layout.spaces if s is not Space.PROGRAM]
    total, done = sum(len(words) for words in layout.spaces.values()), 0
    for space in order:
        words = layout.spaces[space]
        sector = layout.sector if space is Space.WEIGHTS else 0
        if not (sector and holds(client, space, words)):
            client.write(
                space,
                0,
                words,
                lambda n, _, before=done: progress(before + n, total),  # type: ignore[misc]
                sector=sector,
            )
        verify(client, space, words)
        done += len(words)
    program = layout.spaces[Space.PROGRAM]
    client.write(Space.PROGRAM, WORDS, program[WORDS:])
    client.write(Space.PROGRAM, 0, program[:WORDS])
    verify(client, Space.PROGRAM, program)
    progress(total, total)


def checksum(words: Words) -> int:
    """CRC of memory contents, as the chip computes it."""
    return zlib.crc32(words.astype("<u4").tobytes())


def holds(client: ChipClient, space: Space, words: Words) -> bool:
    """Whether the chip's memory has the CRC of `words`."""
    return client.crc(space, 0, len(words)) == checksum(words)


def verify(client: ChipClient, space: Space, words: Words) -> None:
    """Refuse memory contents whose CRC, computed on the chip, is not that of `words`."""
    wanted, found = checksum(words), client.crc(space, 0, len(words))
    if found != wanted:
        raise SetunError(
            f"{space.name.lower()} memory",
            f"must read back with CRC {wanted:08x}",
            f"{found:08x}",
            "load again; lower the baud rate if it persists",
        )


def loaded_hash(client: ChipClient) -> str | None:
    """Hash of the model whose program the chip holds, as its first instruction tells it.

    None where the program is blank: no model was loaded, or a load was cut short.
    """
    first = client.read(Space.PROGRAM, 0, WORDS)
    return first[1:].astype("<u4").tobytes().hex() if int(first[0]) & 0xF == Op.MODEL else None


def differing(client: ChipClient, layout: MemoryLayout, *, weights: bool) -> list[Space]:
    """Spaces whose contents are not those of `layout`, by CRC; without `weights` all but them.

    Weights in block RAM may be passed over where the program agrees: it is written after them,
    and lost with them.
    """
    spaces = [space for space in layout.spaces if weights or space is not Space.WEIGHTS]
    return [space for space in spaces if not holds(client, space, layout.spaces[space])]
