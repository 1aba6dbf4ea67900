"""What a command or an event is worked on with, as the parts of the command processor share it."""

from amaranth.hdl import Array, Signal

from setun.firmware.link.messages import Status


class Registers:
    """Registers and strobes of one frame.

    Parameters
    ----------
    contexts
        Of the core.

    Members
    -------
    kind, seq, status
        Type and number of the frame; the command's verdict.
    left
        Bytes, words or counters that are left.
    shift, phase
        A word on its way in or out, lowest byte first; which byte of it.
    space, address, count
        Of WRITE, READ and CRC.
    is_event, final, later
        No reply but an event; its last word is the CRC; the second word of a DONE.
    commands_turn
        The last frame was an event.
    event_numbers, first_event
        Number of the next event of each context; that of a generation's first.
    once_valid, once
        The last command, when it is one that must not run twice: `status` is still its own.
    step, less, info_fetch
        Strobes: on to the next byte of the ring; one less is `left`; a byte of the INFO record.
    rotate, load, load_crc
        Strobes: a byte enters `shift`; a word of the reply does; the CRC does.
    emit, sent, out, summing
        A byte is on offer, is taken, is this one; a byte is summed up and goes nowhere.
    """

    def __init__(self, contexts: int) -> None:
        self.kind = Signal(8)
        self.seq = Signal(8)
        self.status = Signal(Status)
        self.left = Signal(8)
        self.shift = Signal(32)
        self.phase = Signal(2)
        self.space = Signal(3)
        self.address = Signal(32)
        self.count = Signal(16)
        self.is_event = Signal()
        self.final = Signal()
        self.later = Signal()
        self.commands_turn = Signal()
        self.event_numbers = Array(Signal(8, name=f"event_number{k}") for k in range(contexts))
        self.first_event = Signal(8)
        self.once_valid = Signal()
        self.once = Signal(16)

        self.step = Signal()
        self.less = Signal()
        self.info_fetch = Signal()
        self.rotate = Signal()
        self.load = Signal()
        self.load_crc = Signal()
        self.emit = Signal()
        self.sent = Signal()
        self.out = Signal(8)
        self.summing = Signal()
