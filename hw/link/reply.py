"""How a reply or an event is sent: the later states of `setun.hw.link.command`'s machine."""

from typing import Any

from amaranth.hdl import Cat, Module

from setun.firmware.link.messages import Command, Event, Status
from setun.hw.link.crc import Crc32
from setun.hw.link.registers import Registers


def reply_states(m: Module, r: Registers, crc: Crc32, ports: Any, *, info: int) -> None:
    """States from a command's end, or an event's begin, to the CRC behind its frame.

    Parameters
    ----------
    ports
        The `CommandProcessor`, whose events and words are taken.
    info
        Bytes of the INFO record. There are no replies to what has none, or no counters.
    """
    counters = ports.ties.counters
    with m.State("SKIP"):
        m.d.comb += [r.step.eq(r.left != 0), r.less.eq(r.left != 0), crc.start.eq(1)]
        with m.If(r.left == 0):
            m.next = "KIND OUT"
    with m.State("KIND OUT"):
        m.d.comb += [r.emit.eq(1), r.out.eq(Cat(r.kind[:6], r.is_event, 1))]
        with m.If(r.sent):
            m.next = "SEQ OUT"
    with m.State("SEQ OUT"):
        m.d.comb += [r.emit.eq(1), r.out.eq(r.seq)]
        with m.If(r.sent):
            m.next = "STATUS OUT"
            with m.If(r.is_event):
                m.next = "LOAD"
    with m.State("STATUS OUT"):
        m.d.comb += [r.emit.eq(1), r.out.eq(r.status)]
        with m.If(r.sent):
            m.next = "CRC OUT"
            with m.If(r.status == Status.OK), m.Switch(r.kind[:4]):
                with m.Case(Command.READ):
                    m.d.sync += r.left.eq(r.shift[24:])
                    m.next = "BUS"
                with m.Case(Command.CRC):
                    m.next = "WORD OUT"
                with m.Case(Command.GENERATE):
                    m.next = "LOAD"
                if info:
                    with m.Case(Command.INFO):
                        m.d.sync += r.left.eq(info)
                        m.next = "INFO"
                if counters:
                    with m.Case(Command.COUNTERS):
                        m.d.sync += r.left.eq(counters)
                        m.next = "LOAD"
    with m.State("INFO"):
        m.d.comb += r.info_fetch.eq(1)
        m.next = "INFO OUT"
    with m.State("INFO OUT"):
        m.d.comb += [r.emit.eq(1), r.out.eq(ports.byte)]
        with m.If(r.sent):
            m.d.comb += r.less.eq(1)
            m.next = "INFO"
            with m.If(r.left == 1):
                m.next = "CRC OUT"
    _words(m, r, ports)


def _words(m: Module, r: Registers, ports: Any) -> None:
    """Words of a payload, and the CRC."""
    with m.State("LOAD"):
        m.next = "WORD OUT"
        m.d.comb += r.load.eq(1)
        number = r.event_numbers[r.kind[4:6]]
        with m.If(r.is_event), m.Switch(r.kind[:4]):
            with m.Case(Event.ERROR & 15):
                m.d.comb += ports.error.ready.eq(1)
                m.d.sync += r.phase.eq(3)
            with m.Case(Event.TOKEN & 15):
                m.d.comb += ports.token.ready.eq(1)
                m.d.sync += [r.phase.eq(4 - ports.ties.token_bytes), number.eq(number + 1)]
            with m.Default():
                m.d.comb += ports.done.ready.eq(r.later)
                with m.If(~r.later):
                    m.d.sync += [r.phase.eq(1), number.eq(number + 1)]
        with m.Else(), m.Switch(r.kind[:4]):
            with m.Case(Command.GENERATE):
                m.d.sync += r.phase.eq(3)
            with m.Case(Command.COUNTERS):
                m.d.comb += r.less.eq(1)
            with m.Default():
                m.d.comb += ports.bus_rsp.ready.eq(1)
                with m.If(~ports.bus_rsp.valid):
                    m.next = "LOAD"
                with m.Elif(r.kind[:4] == Command.CRC):
                    m.next = "SUM"
                with m.Else():
                    m.d.comb += r.less.eq(1)
    with m.State("CRC OUT"):
        m.d.comb += [r.load.eq(1), r.load_crc.eq(1)]
        m.d.sync += [r.final.eq(1), r.phase.eq(0)]
        m.next = "WORD OUT"
    with m.State("WORD OUT"):
        m.d.comb += [r.emit.eq(1), r.rotate.eq(r.sent)]
        with m.If(r.sent & (r.phase == 3)):
            m.next = "CRC OUT"
            with m.If(r.final):
                m.next = "IDLE"
            with m.Elif(r.is_event & (r.kind[:4] == (Event.DONE & 15)) & ~r.later):
                m.d.sync += r.later.eq(1)
                m.next = "LOAD"
            with m.Elif(r.left != 0):
                m.next = "BUS"
                with m.If(r.kind[:4] == Command.COUNTERS):
                    m.next = "LOAD"
