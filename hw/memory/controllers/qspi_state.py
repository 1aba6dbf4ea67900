"""What the parts of the flash's controller share: its step, requests, beats on their way."""

from enum import IntEnum

from amaranth.hdl import Cat, Const, Signal, Value
from amaranth.lib import data

from setun.hw.memory.controllers.port import MAX_BEATS


class Step(IntEnum):
    """Transactions between two edges of CS#."""

    EXIT = 0  # four pins high for 8 clocks: an address and a mode byte that end continuous mode
    RELEASE = 1
    RESET_ENABLE = 2
    RESET = 3
    LOOK = 4  # at the register of the quad enable bit
    ENABLE = 5  # of the write in the goal
    SET = 6
    ERASE = 7
    PROGRAM = 8
    POLL = 9
    READ = 10


class Requests:
    """The next request, and where it lies against what was read or written before.

    Parameters
    ----------
    words
        Of the whole flash, of 32 bits.

    Members
    -------
    next, next_valid, take
        The request; that there is one; strobe: it is done with.
    position
        The word behind the last one read or written.
    moves, follows, looked
        `position` changes; `next` begins there; that is known.
    """

    def __init__(self, words: int) -> None:
        layout = data.StructLayout(
            {
                "address": (words - 1).bit_length(),
                "beats": range(MAX_BEATS + 1),
                "link": 1,
                "write": 1,
                "data": 32,
            }
        )
        self.next = Signal(layout)
        self.next_valid = Signal()
        self.take = Signal()
        self.position = Signal.like(self.next.address)
        self.moves = Signal()
        self.looked = Signal()
        self.follows = Signal()

    @property
    def address(self) -> Value:
        """24 bits: the byte of `position`."""
        return Cat(Const(0, 2), self.position, Const(0, 22 - len(self.position)))


class Beats:
    """Beats that come back.

    Members
    -------
    to_link
        They are the link's.
    asked, taken
        Strobes: a beat is asked for, is taken.
    pending
        Beats asked for and not taken.
    """

    def __init__(self) -> None:
        self.to_link = Signal()
        self.asked = Signal()
        self.taken = Signal()
        self.pending = Signal(range(3))
