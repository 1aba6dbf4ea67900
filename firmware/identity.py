"""What a chip says of itself: the INFO record, from which a host rebuilds its configuration."""

import struct

from setun.firmware.config import MEMORIES, PACKINGS, ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.formats import Format

VERSION = 3
# version, digest, columns, rows, lanes, packing, memory, exponent, mantissa, contexts, then sizes
# in the order of `ChipConfig`, clock and baud, the flash's first byte, the part's name; little
# endian.
_RECORD = struct.Struct("<B8s8B9I16s")


def encode(config: ChipConfig) -> bytes:
    """The INFO record of a chip built from `config`."""
    c = config
    return _RECORD.pack(
        VERSION, c.digest, c.columns, c.rows, c.lanes, PACKINGS.index(c.packing),
        MEMORIES.index(c.memory), c.vector.exponent, c.vector.mantissa, c.contexts,
        c.weight_words, c.constant_pairs, c.instructions, c.vector_elements, c.state_elements,
        c.max_columns, c.clock_hz, c.baud, c.flash_base, c.part.encode(),
    )  # fmt: skip


def decode(record: bytes) -> ChipConfig:
    """The configuration a chip reports; refuses records of other versions or damaged ones."""
    if len(record) != _RECORD.size or record[0] != VERSION:
        raise SetunError(
            "chip", f"must report an INFO record of version {VERSION}",
            f"{len(record)} bytes, version {record[0] if record else 'none'}",
            "use the Setun release that built the bitstream",
        )  # fmt: skip
    (_, digest, columns, rows, lanes, packing, memory, exponent, mantissa, contexts, weights, pairs,
     instructions, vector, state, longest, clock, baud, base,
     part) = _RECORD.unpack(record)  # fmt: skip
    if packing >= len(PACKINGS):
        raise SetunError("chip", "must report a known packing", packing)
    if memory >= len(MEMORIES):
        raise SetunError("chip", "must report a known memory", memory)
    config = ChipConfig(
        columns=columns, rows=rows, lanes=lanes, packing=PACKINGS[packing],
        memory=MEMORIES[memory], part=part.rstrip(b"\0").decode("ascii", "replace"),
        vector=Format(exponent, mantissa), contexts=contexts, weight_words=weights,
        constant_pairs=pairs, instructions=instructions, vector_elements=vector,
        state_elements=state, max_columns=longest, clock_hz=clock, baud=baud, flash_base=base,
    )  # fmt: skip
    if config.digest != digest:
        raise SetunError("chip", "must report a record that agrees with its own hash", digest.hex())
    return config
