"""Records: how a model that lies in an external memory is cut up for one sequential read.

A chip whose model lies outside reads its memory front to back, once a token. What each unit needs
comes in the order of use, as records: a header of 64 bits, then whole units of the memory's beat
(64 bits at least).

====== ======= ==================================================================
bits   field   meaning
====== ======= ==================================================================
3:0    kind    see `Kind`; 0 is no record, so blank memory is no model
4      kept    `TOKEN`: gains stay on the chip, none comes with a token
5      kept    `TOKEN`: gates likewise
31:8   address of the store's units that are written (`GAINS`, `GATES`); the `BURST`
               of beats that a token's records begin at (`TOKEN`); else 0
63:32  units   of the payload behind the header
====== ======= ==================================================================

A header takes a unit of its own. The weights of all `WEIGHTS` records of a token are one stream of
bits: a record ends with the unit that completes the last word of its matvec, and the first bits of
the next matvec may stand in it already.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

BURST = 32
"""Beats: what a token's first request is aligned to."""
HEADER_BITS = 64
INSTRUCTION_BITS = 128


class Kind(IntEnum):
    """What a record holds, and who takes it."""

    WEIGHTS = 1  # words of the ternary array
    GAINS = 2  # a QUANTISE's pairs, 32 bits a number
    GATES = 3  # an MLGRU's gates, 32 bits a number
    INSTRUCTIONS = 4  # of the sequencer, 128 bits each in a unit or more
    TOKEN = 5  # nothing; what came before stays on the chip, a token's records begin elsewhere
    STOP = 6  # nothing; the reader waits for the next token
    MODEL = 7  # what a host reads: the model's hash; the chip passes over it


def unit_bits(beat: int) -> int:
    """Bits of a unit: a beat of the memory, 64 at least."""
    return max(beat, HEADER_BITS)


def header(
    kind: Kind, units: int = 0, address: int = 0, *, gains: bool = False, gates: bool = False
) -> int:
    """The header's 64 bits; `gains` and `gates` are a TOKEN's, of what stays on the chip."""
    if not 0 <= units < 1 << 32 or not 0 <= address < 1 << 24:
        raise ValueError(f"units must fit 32 bits, the address 24: {units}, {address}")
    return kind | gains << 4 | gates << 5 | address << 8 | units << 32


def record(head: int, payload: NDArray[np.uint8], unit: int) -> NDArray[np.uint8]:
    """Bytes of a record: a unit of `unit` bits with the header, then the payload, uint8 [n].

    The payload is filled up with zeros to the units that the header tells.
    """
    size = unit // 8
    units = head >> 32
    if -(-payload.size // size) != units:
        raise ValueError(f"the header tells {units} units, the payload has {payload.size} bytes")
    out = np.zeros((1 + units) * size, np.uint8)
    out[:8] = np.frombuffer(head.to_bytes(8, "little"), np.uint8)
    out[size : size + payload.size] = payload
    return out


def units_of(size: int, unit: int) -> int:
    """Units of `unit` bits that `size` bytes take."""
    return -(-size * 8 // unit)
