"""What a reply or an event carries."""

from amaranth.hdl import Cat, Elaboratable, Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.link.messages import Command, Event
from setun.hw.link.signature import DONE, Ties


class ReplyWord(wiring.Component):
    """Choice of the next 32-bit word to send, lowest byte first.

    Parameters
    ----------
    ties
        To the core.

    Members
    -------
    is_event : In(1), kind : In(4)
        Event or reply, and its type: the low four bits tell all of them apart.
    left : In(8)
        Of a COUNTERS reply: words not yet sent, this one included.
    cycles : In(1)
        Of a DONE event: its second word.
    load_crc : In(1)
        Take `crc` whatever else is given.
    error, token, done, first_event, counters, bus_rsp, crc : In
        The words to choose from.
    word : Out(32)

    Latency: 0 (combinational).
    """

    def __init__(self, ties: Ties) -> None:
        self.counter_count = ties.counters
        super().__init__(
            {
                "is_event": In(1),
                "kind": In(4),
                "left": In(8),
                "cycles": In(1),
                "load_crc": In(1),
                "error": In(8),
                "token": In(ties.token_bits),
                "done": In(DONE),
                "first_event": In(8),
                "counters": In(data.ArrayLayout(32, ties.counters)),
                "bus_rsp": In(32),
                "crc": In(32),
                "word": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        word = self.word
        with m.If(self.load_crc):
            m.d.comb += word.eq(self.crc)
        with m.Elif(self.is_event), m.Switch(self.kind):
            with m.Case(Event.ERROR & 15):
                m.d.comb += word.eq(self.error)
            with m.Case(Event.TOKEN & 15):
                m.d.comb += word.eq(self.token)
            with m.Default():
                m.d.comb += word.eq(Cat(self.done.reason, self.done.tokens))
                with m.If(self.cycles):
                    m.d.comb += word.eq(self.done.cycles)
        with m.Else(), m.Switch(self.kind):
            with m.Case(Command.GENERATE):
                m.d.comb += word.eq(self.first_event)
            with m.Case(Command.COUNTERS), m.Switch(self.left):
                for index in range(self.counter_count):
                    with m.Case(self.counter_count - index):
                        m.d.comb += word.eq(self.counters[index])
            with m.Default():
                m.d.comb += word.eq(self.bus_rsp)
        return m
