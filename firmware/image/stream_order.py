"""Order of a token's records: early enough that nothing waits, late enough that nothing locks.

The reader hands out records in order, and one that finds no room holds up all behind it. So an
instruction may come `LOOKAHEAD` ahead at most, and a block of gains or gates only when all that
must happen before the block two before it is used up has come. `Order` says so as rules; a bench
plays them against units of the least room (`tests/firmware/image/test_stream_order.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from setun.firmware.program.isa import Instruction, Op
from setun.firmware.program.kernels import Port

LOOKAHEAD = 16
"""Instructions that wait in front of the sequencer at most."""
AHEAD = 2
"""Blocks that a store holds: the one in use and the next."""
GAINED = (Op.QUANTISE, Op.NORM)
"""Operations that have a block of gains."""
BATCH = 8
"""Instructions that come together, if so many may."""


class Piece(Enum):
    """What a record of a token holds."""

    INSTRUCTIONS = "instructions"
    GAINS = "gains"
    GATES = "gates"
    WEIGHTS = "weights"


@dataclass(frozen=True)
class Item:
    """One record: of the instructions from `first` to `last`, or of the one at `first`."""

    piece: Piece
    first: int
    last: int


def stream_order(
    program: Sequence[Instruction], *, gains: bool = True, gates: bool = True
) -> Iterator[Item]:
    """Records of one token in order; without `gains` or `gates` those stay on the chip.

    Parameters
    ----------
    program
        Body and head as the chip runs them, END and all.
    """
    matvecs = [k for k, i in enumerate(program) if i.op is Op.MATVEC]
    blocks = {
        Piece.GAINS: [k for k, i in enumerate(program) if i.op in GAINED and gains],
        Piece.GATES: [
            k
            for k, i in enumerate(program)
            if i.op is Op.MATVEC and Port.GATES in i.kernel.reads and gates
        ],
    }
    given = dict.fromkeys(blocks, 0)
    written = 0  # instructions

    def instructions(until: int) -> Iterator[Item]:
        nonlocal written
        if until > written:
            yield Item(Piece.INSTRUCTIONS, written, until)
            written = until

    def constants(at: int, following: int) -> Iterator[Item]:
        for piece, users in blocks.items():
            while given[piece] < len(users):
                user = users[given[piece]]
                before = users[given[piece] - AHEAD] if given[piece] >= AHEAD else -1
                # A matvec ahead, but not before what its room waits for.
                if user > following or before >= written or (user > at and before > at):
                    break
                yield Item(piece, user, user)
                given[piece] += 1

    for number, at in enumerate(matvecs):
        following = matvecs[number + 1] if number + 1 < len(matvecs) else len(program)
        yield from constants(at, following)
        # The next one finds room when the oldest is dispatched: it waits for weights that have
        # come, and for a block.
        lacking = [users[given[p]] for p, users in blocks.items() if given[p] < len(users)]
        most = min(len(program), min(at + 1, *lacking, len(program)) + LOOKAHEAD)
        if written <= following or most - written >= BATCH:
            yield from instructions(most)
            yield from constants(at, following)
        yield Item(Piece.WEIGHTS, at, at)
    yield from instructions(len(program))
