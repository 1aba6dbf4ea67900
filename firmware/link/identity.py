"""What a chip says of itself: the INFO record, from which a host rebuilds its configuration."""

import struct

from setun.firmware import attention_options
from setun.firmware.config import PACKINGS, ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.memory_kinds import KINDS
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import CHOICES, Numerics

# What a chip has beside the record's fields, it says by the record's version.
_WITH_TERMINAL, _STREAMS, _WIDE_TOKENS, _FIVE_TRITS, _ATTENTION = 1, 2, 4, 8, 16
_HEAD_NORMS = 32  # on top of attention
_MAILBOX = 64
_FIRST = 5
INSTRUCTION_SETS = {
    version + mailbox + more: instructions
    for mailbox in (0, _MAILBOX)
    for attention in (0, _ATTENTION, _ATTENTION + _HEAD_NORMS)
    for more in (attention, attention + _FIVE_TRITS)
    for version, instructions in {5: 1, 6: 1, 7: 2, 8: 2, 9: 1, 11: 2}.items()
}
"""What chips with a record of each version run: `setun.firmware.program.isa.VERSION`."""
# version, digest, columns, rows, pump, lanes, packing, memory, contexts, the numerics (exponent,
# mantissa, `CHOICES` in order, state mantissa), then sizes in the order of `ChipConfig`, clock and
# baud, the flash's first byte, chunk and seed of the numerics, the part's name; little endian.
_START, _END = "<B8s7B6B", "3I5I16s"
_ATTENDING = struct.Struct("<BBHBII")
"""Behind the record of a chip with attention: the options of it in their order."""
_MULTIPLIER = list(CHOICES).index("multiplier")
_SEGMENTS = 4  # the bit of the multiplier's byte from which on it has the segments of L-Mul
_SIZES = "3I", ("weight_words", "constant_pairs", "instructions")
_SIZES_STREAMING = "QII", ("memory_bytes", "constant_pairs", "gate_elements")


def _record(version: int) -> tuple[struct.Struct, tuple[str, ...]]:
    """The record of a version, and which sizes it begins with."""
    fields, names = _SIZES_STREAMING if (version - _FIRST) & _STREAMS else _SIZES
    return struct.Struct(_START + fields + _END), names


def encode(config: ChipConfig) -> bytes:
    """The INFO record of a chip built from `config`."""
    c, n = config, config.numerics
    choices = [known.index(getattr(n, name)) for name, known in CHOICES.items()]
    choices[_MULTIPLIER] |= n.segments << _SEGMENTS
    version = _FIRST + _WITH_TERMINAL * c.terminal + _STREAMS * c.streams
    version += _WIDE_TOKENS * (c.token_bits == 18) + _FIVE_TRITS * c.five_trits
    version += _MAILBOX * c.mailbox
    version += (_ATTENTION + _HEAD_NORMS * c.head_norms) * bool(c.attention)
    record, sizes = _record(version)
    more = (getattr(c, name) for name in attention_options.NAMES)
    behind = _ATTENDING.pack(*more) if c.attention else b""
    return (
        record.pack(
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
            *(getattr(c, name) for name in sizes),
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
        + behind
    )


def decode(record: bytes) -> ChipConfig:
    """The configuration a chip reports; refuses records of other versions or damaged ones."""
    version = record[0] if record else 0
    layout, sizes = _record(version)
    attends = (version - _FIRST) & _ATTENTION
    size = layout.size + (_ATTENDING.size if attends else 0)
    if version not in INSTRUCTION_SETS or len(record) != size:
        raise SetunError(
            "chip",
            f"must report an INFO record of version {min(INSTRUCTION_SETS)} to "
            f"{max(INSTRUCTION_SETS)}",
            f"{len(record)} bytes, version {version or 'none'}",
            "use the Setun release that built the bitstream",
        )
    (
        _,
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
        first,
        second,
        third,
        vector,
        state,
        longest,
        clock,
        baud,
        base,
        chunk,
        seed,
        part,
    ) = layout.unpack(record[: layout.size])
    if packing >= len(PACKINGS):
        raise SetunError("chip", "must report a known packing", packing)
    if memory >= len(KINDS):
        raise SetunError("chip", "must report a known memory", memory)
    segments = chosen[_MULTIPLIER] >> _SEGMENTS
    chosen[_MULTIPLIER] &= (1 << _SEGMENTS) - 1
    options = {}
    for (name, known), index in zip(CHOICES.items(), chosen, strict=True):
        if index >= len(known):
            raise SetunError("chip", f"must report a known {name}", index)
        options[name] = known[index]
    attention: dict[str, int] = {}
    if attends:
        behind = _ATTENDING.unpack(record[layout.size :])
        attention = dict(zip(attention_options.NAMES, behind, strict=True))
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
            segments=segments,
            state_seed=seed,
            state_mantissa=None if state_mantissa == mantissa else state_mantissa,
            **options,
        ),
        contexts=contexts,
        **dict(zip(sizes, (first, second, third), strict=True)),
        **attention,
        vector_elements=vector,
        state_elements=state,
        max_columns=longest,
        clock_hz=clock,
        baud=baud,
        flash_base=base,
        head_norms=int(bool((version - _FIRST) & _HEAD_NORMS)),
        five_trits=int(bool((version - _FIRST) & _FIVE_TRITS)),
        token_bits=18 if (version - _FIRST) & _WIDE_TOKENS else 16,
        terminal=(version - _FIRST) & _WITH_TERMINAL,
        mailbox=int(bool((version - _FIRST) & _MAILBOX)),
    )
    if config.streams != bool((version - _FIRST) & _STREAMS):
        raise SetunError(
            "chip",
            f"must read its whole model from {config.memory_kind.place}",
            f"INFO record of version {version}, of a chip that reads weights alone",
            "use the Setun release that built the bitstream, or build it again",
        )
    if config.digest != digest:
        raise SetunError("chip", "must report a record that agrees with its own hash", digest.hex())
    return config
