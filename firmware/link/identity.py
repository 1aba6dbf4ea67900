"""What a chip says of itself: the INFO record, from which a host rebuilds its configuration."""

import struct

from setun.firmware.config import PACKINGS, ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.memory_kinds import KINDS
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import CHOICES, Numerics

# A chip with a terminal says so by its version; the record is the same.
VERSION, WITH_TERMINAL = 5, 6
INSTRUCTION_SETS = {VERSION: 1, WITH_TERMINAL: 1}
"""What chips with a record of each version run: `setun.firmware.program.isa.VERSION`."""
# version, digest, columns, rows, pump, lanes, packing, memory, contexts, the numerics (exponent,
# mantissa, `CHOICES` in order, state mantissa), then sizes in the order of `ChipConfig`, clock and
# baud, the flash's first byte, chunk and seed of the numerics, the part's name; little endian.
_RECORD = struct.Struct("<B8s7B6B11I16s")


def encode(config: ChipConfig) -> bytes:
    """The INFO record of a chip built from `config`."""
    c, n = config, config.numerics
    choices = [known.index(getattr(n, name)) for name, known in CHOICES.items()]
    version = WITH_TERMINAL if c.terminal else VERSION
    return _RECORD.pack(
        version,
        c.digest,
        c.columns,
        c.rows,
        c.pump,
        c.lanes,
        PACKINGS.index(c.packing),
        list(KINDS).index(c.memory),
        c.contexts,
        c.vector.exponent,
        c.vector.mantissa,
        *choices,
        n.state.mantissa,
        c.weight_words,
        c.constant_pairs,
        c.instructions,
        c.vector_elements,
        c.state_elements,
        c.max_columns,
        c.clock_hz,
        c.baud,
        c.flash_base,
        n.accumulate,
        n.state_seed,
        c.part.encode(),
    )


def decode(record: bytes) -> ChipConfig:
    """The configuration a chip reports; refuses records of other versions or damaged ones."""
    if len(record) != _RECORD.size or record[0] not in (VERSION, WITH_TERMINAL):
        raise SetunError(
            "chip",
            f"must report an INFO record of version {VERSION} or {WITH_TERMINAL}",
            f"{len(record)} bytes, version {record[0] if record else 'none'}",
            "use the Setun release that built the bitstream",
        )
    (
        version,
        digest,
        columns,
        rows,
        pump,
        lanes,
        packing,
        memory,
        contexts,
        exponent,
        mantissa,
        *chosen,
        state_mantissa,
        weights,
        pairs,
        instructions,
        vector,
        state,
        longest,
        clock,
        baud,
        base,
        chunk,
        seed,
        part,
    ) = _RECORD.unpack(record)
    if packing >= len(PACKINGS):
        raise SetunError("chip", "must report a known packing", packing)
    if memory >= len(KINDS):
        raise SetunError("chip", "must report a known memory", memory)
    options = {}
    for (name, known), index in zip(CHOICES.items(), chosen, strict=True):
        if index >= len(known):
            raise SetunError("chip", f"must report a known {name}", index)
        options[name] = known[index]
    config = ChipConfig(
        columns=columns,
        rows=rows,
        pump=pump,
        lanes=lanes,
        packing=PACKINGS[packing],
        memory=list(KINDS)[memory],
        part=part.rstrip(b"\0").decode("ascii", "replace"),
        numerics=Numerics(
            vector=Format(exponent, mantissa),
            accumulate=chunk,
            state_seed=seed,
            state_mantissa=None if state_mantissa == mantissa else state_mantissa,
            **options,
        ),
        contexts=contexts,
        weight_words=weights,
        constant_pairs=pairs,
        instructions=instructions,
        vector_elements=vector,
        state_elements=state,
        max_columns=longest,
        clock_hz=clock,
        baud=baud,
        flash_base=base,
        terminal=int(version == WITH_TERMINAL),
    )
    if config.digest != digest:
        raise SetunError("chip", "must report a record that agrees with its own hash", digest.hex())
    return config
