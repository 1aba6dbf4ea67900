"""What the parts of the SDRAM's controller share: turns, accesses, what columns and rows do."""

from amaranth.hdl import Signal
from amaranth.lib import data

from setun.hw.memory.controllers.port import MAX_BEATS
from setun.hw.memory.controllers.sdram_timing import Command, SdramPart


class Turns:
    """Commands for rows and for columns take turns, one cycle each.

    Members
    -------
    row, column
        Whose turn it is. Two registers, not one and its inverse: they are wanted all over the
        controller.
    pause
        Columns rest.
    """

    def __init__(self) -> None:
        self.row = Signal(name="row_slot")
        self.column = Signal(name="column_slot", init=1)
        self.pause = Signal()


class Accesses:
    """The access that columns are read of, and the one whose row is made ready meanwhile.

    Members
    -------
    current, next
        pair, bank, row: where; left: pairs after this one; skip_first, skip_last: the first pair's
        first beat is not wanted, nor the last pair's second; link, write: whose and what.
    current_valid, next_valid, current_open, next_open
        There is one; its row is open.
    link_busy, link_data
        The link's word is on its way; what it writes.
    """

    def __init__(self, part: SdramPart) -> None:
        layout = data.StructLayout(
            {
                "pair": (part.columns - 1).bit_length() - 1,
                "bank": 2,
                "row": (part.rows - 1).bit_length(),
                "left": range(MAX_BEATS // 2 + 1),
                "skip_first": 1,
                "skip_last": 1,
                "link": 1,
                "write": 1,
            }
        )
        self.current = Signal(layout)
        self.next = Signal(layout)
        self.current_valid = Signal()
        self.next_valid = Signal()
        self.current_open = Signal()
        self.next_open = Signal()
        self.link_busy = Signal()
        self.link_data = Signal(32)


class Columns:
    """What the columns' commands do.

    Members
    -------
    issue, last
        A pair is read or written, the access's last.
    second_write, second_read, second_link, second_skip
        What the pair's second cycle needs when `current` may be another access already.
    """

    def __init__(self) -> None:
        self.issue = Signal()
        self.last = Signal()
        self.second_write = Signal()
        self.second_skip = Signal()
        self.second_read = Signal()
        self.second_link = Signal()


class Rows:
    """The rows' command, its address pins and its bank."""

    def __init__(self, part: SdramPart) -> None:
        self.command = Signal(3, name="row_command", init=Command.NOP)
        self.address = Signal(part.address_pins, name="row_address")
        self.bank = Signal(2)
