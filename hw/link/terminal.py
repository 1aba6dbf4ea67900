"""A terminal in the chip: lines typed at any terminal program, text back, no Setun on the host."""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.image.terminal_tables import BYTES, WORDS
from setun.firmware.link.messages import (
    REPLY,
    Command,
    Event,
    Reason,
    Status,
    prompt_tokens,
)
from setun.hw.link.cobs import ENCODER_INPUT
from setun.hw.link.receive import typing_members
from setun.hw.link.request import request_bytes
from setun.hw.link.sharing import BACKSPACE, CR, LF
from setun.hw.link.signature import Ties, text_members

BELL, DELETE = 0x07, 0x7F
LONGEST = prompt_tokens(2) - 1  # characters of a line: the line's end is a token too
LOOKUP = 5  # cycles from an address to its word in a register here
PADS = 4  # bytes in the place of a CRC


def _out(text: str) -> tuple[int, int]:
    """Characters as a shift register holds them, and how many."""
    return int.from_bytes(text.encode(), "little"), len(text)


class Terminal(wiring.Component):
    """A host inside the chip: makes frames of what is typed, and text of what is answered.

    A line goes to context 0 as RESET or STOP, PROMPT and GENERATE, written into the frame memory
    as it is typed; tokens come back from the command processor like a host's. So the core has no
    part in it. What a key does is told in docs/link.md.

    Held in reset while the wire belongs to frames.

    Parameters
    ----------
    ties
        To the core, whose tokens have 16 bits.

    Members
    -------
    key : In(stream of 8)
        Keys.
    reply : In(stream of {data: 8, last: 1})
        Frames from the command processor, a CRC behind each.
    o : Out(stream of 8)
        Characters for the UART.
    typed, rewind, kept : Out
        To the frame receiver.
    text_address, text, text_wanted, text_found
        See `setun.firmware.image.terminal_tables` and `setun.hw.link.signature.text_members`.
    """

    def __init__(self, ties: Ties) -> None:
        self.ties, self.shared = ties, ties.shared
        members = {name: member.flip() for name, member in typing_members().items()}
        del members["typing"]
        super().__init__(
            {
                "key": In(stream.Signature(8)),
                "reply": In(stream.Signature(ENCODER_INPUT)),
                "o": Out(stream.Signature(8)),
                **members,
                **text_members(ties.shared),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        key = self.key.payload
        typed, datum, end = Signal(), Signal(8), Signal()  # parts of `typed`
        fresh = Signal(init=1)  # the line begins a conversation
        count = Signal(range(LONGEST + 1))  # characters of the line
        answering, behind_cr, ending = Signal(), Signal(), Signal()
        answers = Signal(8)
        command = Signal(Command)
        wait = Signal(range(LOOKUP), init=LOOKUP - 1)
        length = request_bytes(self.ties)
        left = Signal(range(length))  # of the bytes that are pushed in a row
        char, word = Signal(8), Signal(9)  # the key or token that is looked up; what was found
        out, outs = Signal(24), Signal(2)
        is_newline, present, finish = Signal(), Signal(), Signal()
        if self.shared:
            there = Signal()
            m.d.sync += there.eq(self.text_found)
            with m.If(self.text_found):
                m.d.sync += word.eq(self.text)
        else:
            there = wait == 0
            m.d.sync += word.eq(self.text)
        m.d.comb += [
            present.eq(word[8]),
            is_newline.eq(char == LF),
            self.typed.valid.eq(typed),
            self.typed.token.data.eq(datum),
            self.typed.token.end.eq(end),
            self.o.payload.eq(out[:8]),
            self.kept.eq(Mux(count == 1, 0, count << 1)),
        ]
        token, over, refused = self._listen(m, finish)

        def say(text: str) -> None:
            characters, number = _out(text)
            m.d.sync += [out.eq(characters), outs.eq(number)]
            m.next = "SAY"

        def look(address: Value | int) -> None:
            m.d.sync += self.text_address.eq(address)
            if not self.shared:
                m.d.sync += wait.eq(LOOKUP - 1)

        def await_word() -> None:
            if self.shared:
                m.d.comb += self.text_wanted.eq(~there)
            else:
                m.d.sync += wait.eq(wait - 1)

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.key.ready.eq(1)
                m.d.sync += ending.eq(0)
                with m.If(self.key.valid):
                    m.d.sync += [behind_cr.eq(key == CR), char.eq(Mux(key == CR, LF, key))]
                    look(Mux(key == CR, LF, key))
                    # Programs send CR, LF or both for a line's end.
                    with m.If(~(behind_cr & (key == LF))):
                        m.next = "KEY"
                        with m.If(answering):
                            m.d.sync += command.eq(Command.STOP)
                            m.next = "KIND"
                with m.Elif(token):
                    m.d.comb += self.reply.ready.eq(1)
                    look(BYTES | self.reply.payload.data)
                    m.next = "ANSWER"
                with m.Elif(over):
                    m.d.comb += finish.eq(1)
                    m.d.sync += answering.eq(0)
                    say("\r\n")
                    with m.If(refused):
                        say("?\r\n")
            with m.State("ANSWER"):
                await_word()
                with m.If(there):
                    m.next = "IDLE"
                    with m.If(present):
                        m.d.sync += [out.eq(word[:8]), outs.eq(1)]
                        m.next = "SAY"
                        with m.If(word[:8] == LF):
                            say("\r\n")
            with m.State("KEY"):
                await_word()
                with m.If(there):
                    with m.If(is_newline):
                        say("\r\n")
                        m.d.sync += ending.eq(1)
                        with m.If(count == 0):
                            m.d.sync += [fresh.eq(1), ending.eq(0)]
                        with m.Else():
                            m.d.sync += left.eq(PADS - 1)
                            m.next = "PAD"
                            with m.If(present):
                                m.next = "TOKEN"
                    with m.Elif((char == BACKSPACE) | (char == DELETE)):
                        say("\a")
                        with m.If(count != 0):
                            m.d.comb += self.rewind.eq(1)
                            m.d.sync += count.eq(count - 1)
                            say("\b \b")
                    with m.Elif(present & (count != LONGEST)):
                        m.d.sync += [out.eq(char), outs.eq(1)]
                        m.next = "TOKEN"
                        with m.If(count == 0):
                            m.d.sync += command.eq(Mux(fresh, Command.RESET, Command.STOP))
                            m.next = "KIND"
                    with m.Else():
                        say("\a")
            # A frame: its type, a number, its payload, a CRC that nobody looks at. Numbers may all
            # be the same: no PROMPT or GENERATE follows one of its kind.
            with m.State("KIND"):
                m.d.comb += [typed.eq(1), datum.eq(command)]
                m.next = "NUMBER"
            with m.State("NUMBER"):
                m.d.comb += typed.eq(1)
                m.d.sync += left.eq(PADS - 1)
                m.next = "PAD"
                with m.If(command == Command.PROMPT):
                    m.next = "TOKEN"
                with m.Elif(command == Command.GENERATE):
                    m.d.sync += left.eq(length - 1)
                    look(WORDS - length)
                    m.next = "SETTING"
            with m.State("TOKEN"):
                m.d.comb += [typed.eq(1), datum.eq(word[:8])]
                m.next = "TOKEN HIGH"
            with m.State("TOKEN HIGH"):
                m.d.comb += typed.eq(1)
                m.d.sync += [count.eq(count + 1), left.eq(PADS - 1)]
                m.next = "SAY"
                with m.If(ending):
                    m.next = "PAD"
            with m.State("SETTING"):
                await_word()
                with m.If(there):
                    m.d.comb += [typed.eq(1), datum.eq(word[:8])]
                    # Each answer has its own noise: the seed's last byte differs.
                    with m.If(left == 0):
                        m.d.comb += datum.eq(word[:8] ^ answers)
                        m.d.sync += left.eq(PADS - 1)
                        m.next = "PAD"
                    with m.Else():
                        m.d.sync += left.eq(left - 1)
                        look(self.text_address + 1)
            with m.State("PAD"):
                m.d.comb += typed.eq(1)
                m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    m.next = "END"
            with m.State("END"):
                m.d.comb += [typed.eq(1), end.eq(1)]
                m.next = "KIND"
                with m.Switch(command):
                    with m.Case(Command.PROMPT):
                        m.d.sync += command.eq(Command.GENERATE)
                    with m.Case(Command.GENERATE):
                        m.d.sync += [answering.eq(1), answers.eq(answers + 1)]
                        m.d.sync += [fresh.eq(0), count.eq(0)]
                        m.next = "SAY"
                    with m.Default():
                        m.d.sync += command.eq(Command.PROMPT)
                        with m.If(answering):
                            m.next = "IDLE"
            with m.State("SAY"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [out.eq(Cat(out[8:], Const(0, 8))), outs.eq(outs - 1)]
                    with m.If(outs == 1):
                        m.next = "IDLE"
        return m

    def _listen(self, m: Module, finish: Value) -> tuple[Signal, Signal, Signal]:
        """Reads the replies: a token's low byte is here; the answer is over; it was refused.

        The latter two until `finish`.
        """
        item, ready = self.reply.payload, self.reply.ready
        position, kind = Signal(2), Signal(8)
        token, over, refused = Signal(), Signal(), Signal()
        m.d.comb += [
            token.eq(self.reply.valid & (position == 2) & (kind == Event.TOKEN)),
            ready.eq(~token),
        ]
        with m.If(finish):
            m.d.sync += [over.eq(0), refused.eq(0)]
        with m.If(self.reply.valid & ready):
            m.d.sync += position.eq(Mux(item.last, 0, position + (position != 3)))
            with m.If(position == 0):
                m.d.sync += kind.eq(item.data)
            with m.If(position == 2), m.Switch(kind):
                with m.Case(Event.DONE):
                    told = item.data == Reason.END_OF_TEXT
                    m.d.sync += [over.eq(1), refused.eq((item.data >= Reason.NO_PROMPT) & ~told)]
                with m.Case(REPLY | Command.PROMPT, REPLY | Command.GENERATE):
                    with m.If(item.data != Status.OK):
                        m.d.sync += [over.eq(1), refused.eq(1)]
        return token, over, refused
