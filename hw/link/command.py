"""Execution of checked frames, and the frames sent back."""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.link.messages import (
    MAX_PROMPT_TOKENS,
    MAX_WORDS,
    SPACES,
    Command,
    Event,
    Status,
)
from setun.hw.link.cobs import ENCODER_INPUT
from setun.hw.link.crc import Crc32
from setun.hw.link.receive import RING

BUS_REQUEST = data.StructLayout({"write": 1, "space": 3, "address": 32, "data": 32})
GENERATE = data.StructLayout({"count": 16, "greedy": 1, "inv_temperature": 32, "seed": 32})
DONE = data.StructLayout({"reason": 8, "tokens": 16, "cycles": 32})

# GENERATE's payload as it arrives, first byte lowest; greedy takes a whole byte there.
_GENERATE_WIRE = data.StructLayout(
    {"count": 16, "greedy": 8, "inv_temperature": 32, "seed": 32},
)


def core_members(counters: int) -> dict[str, wiring.Member]:
    """Members towards the core, shared by `CommandProcessor` and `Link` (documented there)."""
    return {
        "bus_req": Out(stream.Signature(BUS_REQUEST)),
        "bus_rsp": In(stream.Signature(32)),
        "prompt": Out(stream.Signature(16)),
        "prompt_space": In(8),
        "generate": Out(stream.Signature(GENERATE)),
        "stop": Out(1),
        "reset_state": Out(1),
        "token": In(stream.Signature(16)),
        "done": In(stream.Signature(DONE)),
        "running": In(1),
        "generating": In(1),
        "counters": In(data.ArrayLayout(32, counters)),
    }


class CommandProcessor(wiring.Component):
    """One frame at a time: take it, check it, do it, answer it; between frames, send events.

    Commands and events (errors, tokens, the end of a generation) take turns when both wait.

    Parameters
    ----------
    info_length
        Bytes of the INFO record, from address 1024 of the receiver's memory.
    counters
        Number of 32-bit counters.

    Members
    -------
    head, tail, address, byte, error
        See `FrameReceiver`, whose other side this is.
    o : Out(stream.Signature({data: 8, last: 1}))
        Frames with their CRC, for the COBS encoder.
    Others
        See `Link`.

    Latency: about 10 cycles from `head` moving to the first byte of the reply, plus the work:
    6 cycles per word written, 7 per word read or summed, on a bus that answers in 1 cycle.
    """

    def __init__(self, info_length: int, counters: int) -> None:
        self.info_length = info_length
        self.counter_count = counters
        super().__init__(
            {
                "head": In(10),
                "tail": Out(10),
                "address": Out(11),
                "byte": In(8),
                "error": In(stream.Signature(8)),
                "o": Out(stream.Signature(ENCODER_INPUT)),
                **core_members(counters),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.crc = crc = Crc32()

        pointer = Signal(11)
        pointer_next = Signal(11)
        follow = Signal(10)
        m.d.comb += [pointer_next.eq(pointer), self.address.eq(pointer_next)]
        m.d.sync += pointer.eq(pointer_next)

        kind = Signal(8)
        seq = Signal(8)
        status = Signal(Status)
        left = Signal(8)
        shift = Signal(32)
        phase = Signal(2)
        space = Signal(3)
        address = Signal(32)
        count = Signal(16)
        is_event = Signal()
        final = Signal()
        commands_turn = Signal()

        event_number = Signal(8)
        first_event = Signal(8)
        request = Signal(_GENERATE_WIRE)
        pending = Signal()
        active = Signal()
        stop_wanted = Signal()
        once_valid = Signal()
        once_kind = Signal()
        once_seq = Signal(8)

        step = Signal()
        with m.If(step):
            m.d.comb += pointer_next.eq(pointer + 1)
            m.d.sync += left.eq(left - 1)
        fetch = Signal()
        fetched = Signal(32)
        m.d.comb += fetched.eq(Cat(shift[8:], self.byte))
        with m.If(fetch):
            m.d.comb += step.eq(1)
            m.d.sync += [shift.eq(fetched), phase.eq(phase + 1)]

        emit = Signal()
        sent = Signal()
        out = Signal(8)
        m.d.comb += [
            out.eq(shift[:8]),
            self.o.valid.eq(emit),
            self.o.payload.data.eq(out),
            self.o.payload.last.eq(final & (phase == 3)),
            sent.eq(emit & self.o.ready),
            crc.data.eq(out),
        ]
        summing = Signal()
        m.d.comb += crc.valid.eq(sent | summing)

        m.d.comb += [
            self.bus_req.payload.write.eq(kind == Command.WRITE),
            self.bus_req.payload.space.eq(space),
            self.bus_req.payload.address.eq(address),
            self.bus_req.payload.data.eq(shift),
            self.prompt.payload.eq(shift[16:]),
            self.generate.valid.eq(pending),
            self.generate.payload.count.eq(request.count),
            self.generate.payload.greedy.eq(request.greedy),
            self.generate.payload.inv_temperature.eq(request.inv_temperature),
            self.generate.payload.seed.eq(request.seed),
        ]
        with m.If(self.generate.ready):
            m.d.sync += pending.eq(0)
        with m.If(stop_wanted & self.generating & ~pending):
            m.d.comb += self.stop.eq(1)
            m.d.sync += stop_wanted.eq(0)

        core_busy = Signal()
        m.d.comb += core_busy.eq(self.running | active)
        well_formed = Signal()
        busy = Signal()
        known = Signal(init=1)
        with m.Switch(kind):
            with m.Case(Command.INFO, Command.STOP, Command.COUNTERS):
                m.d.comb += well_formed.eq(left == 0)
            with m.Case(Command.RESET):
                m.d.comb += [well_formed.eq(left == 0), busy.eq(core_busy)]
            with m.Case(Command.WRITE):
                m.d.comb += [
                    well_formed.eq((left[:2] == 1) & (left > 5) & (left <= 5 + 4 * MAX_WORDS)),
                    busy.eq(core_busy),
                ]
            with m.Case(Command.READ):
                m.d.comb += [well_formed.eq(left == 6), busy.eq(core_busy)]
            with m.Case(Command.CRC):
                m.d.comb += [well_formed.eq(left == 9), busy.eq(core_busy)]
            with m.Case(Command.PROMPT):
                m.d.comb += [
                    well_formed.eq(~left[0] & (left != 0) & (left <= 2 * MAX_PROMPT_TOKENS)),
                    busy.eq(active | (left[1:] > self.prompt_space)),
                ]
            with m.Case(Command.GENERATE):
                m.d.comb += [well_formed.eq(left == 11), busy.eq(active)]
            with m.Default():
                m.d.comb += known.eq(0)
        once = Signal()
        repeated = Signal()
        m.d.comb += [
            once.eq((kind == Command.PROMPT) | (kind == Command.GENERATE)),
            repeated.eq(once & once_valid & (once_kind == kind[0]) & (once_seq == seq)),
        ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [final.eq(0), is_event.eq(1), count.eq(0), phase.eq(0)]
                some_event = self.error.valid | self.token.valid | self.done.valid
                with m.If((self.head != pointer[:10]) & (commands_turn | ~some_event)):
                    m.d.sync += [commands_turn.eq(0), is_event.eq(0)]
                    m.next = "LENGTH"
                with m.Elif(some_event):
                    m.d.sync += [commands_turn.eq(1), seq.eq(event_number)]
                    m.next = "KIND OUT"
                    with m.If(self.error.valid):
                        m.d.comb += self.error.ready.eq(1)
                        m.d.sync += [
                            kind.eq(Event.ERROR),
                            seq.eq(0),
                            shift.eq(self.error.payload),
                            phase.eq(3),
                        ]
                    with m.Else():
                        m.d.sync += event_number.eq(event_number + 1)
                        with m.If(self.token.valid):
                            m.d.comb += self.token.ready.eq(1)
                            m.d.sync += [
                                kind.eq(Event.TOKEN),
                                shift.eq(self.token.payload),
                                phase.eq(2),
                            ]
                        with m.Else():
                            m.d.sync += [
                                kind.eq(Event.DONE),
                                shift.eq(Cat(self.done.payload.reason, self.done.payload.tokens)),
                                phase.eq(1),
                                count.eq(1),
                                active.eq(0),
                                stop_wanted.eq(0),
                            ]

            with m.State("LENGTH"):
                m.d.comb += step.eq(1)
                m.d.sync += [left.eq(self.byte), follow.eq(pointer[:10] + self.byte + 3)]
                m.next = "KIND"
            with m.State("KIND"):
                m.d.comb += pointer_next.eq(pointer + 1)
                m.d.sync += kind.eq(self.byte)
                m.next = "SEQ"
            with m.State("SEQ"):
                m.d.comb += pointer_next.eq(pointer + 1)
                m.d.sync += seq.eq(self.byte)
                m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [status.eq(Status.OK), once_valid.eq(0)]
                m.next = "KIND OUT"
                with m.If(~known):
                    m.d.sync += status.eq(Status.UNKNOWN_COMMAND)
                with m.Elif(~well_formed):
                    m.d.sync += status.eq(Status.BAD_ARGUMENT)
                with m.Elif(repeated):
                    m.d.sync += once_valid.eq(1)
                with m.Elif(busy):
                    m.d.sync += status.eq(Status.BUSY)
                with m.Else(), m.Switch(kind):
                    with m.Case(Command.WRITE, Command.READ, Command.CRC):
                        m.next = "SPACE"
                    with m.Case(Command.PROMPT):
                        m.d.sync += [once_valid.eq(1), once_kind.eq(0), once_seq.eq(seq)]
                        m.next = "TOKEN"
                    with m.Case(Command.GENERATE):
                        m.next = "REQUEST"
                    with m.Case(Command.RESET):
                        m.d.comb += self.reset_state.eq(1)
                    with m.Case(Command.STOP):
                        m.d.sync += stop_wanted.eq(active)
                        with m.If(~active):
                            m.d.comb += self.stop.eq(1)

            with m.State("SPACE"):
                m.d.comb += step.eq(1)
                m.d.sync += space.eq(self.byte)
                m.next = "ADDRESS"
                with m.If(self.byte >= SPACES):
                    m.d.sync += status.eq(Status.BAD_ARGUMENT)
                    m.next = "KIND OUT"
            with m.State("ADDRESS"):
                m.d.comb += fetch.eq(1)
                with m.If(phase == 3):
                    m.d.sync += address.eq(fetched)
                    m.next = "COUNT"
                    with m.If(kind == Command.WRITE):
                        m.next = "DATA"
            with m.State("COUNT"):
                m.d.comb += fetch.eq(1)
                with m.If(left == 1):
                    m.next = "COUNT CHECK"
            with m.State("COUNT CHECK"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += [phase.eq(0), status.eq(Status.BAD_ARGUMENT)]
                m.next = "KIND OUT"
                with m.If(kind == Command.READ):
                    with m.If((shift[24:] != 0) & (shift[24:] <= MAX_WORDS)):
                        m.d.sync += [status.eq(Status.OK), count.eq(shift[24:])]
                with m.Elif((shift[:16] != 0) & (shift[16:] == 0)):
                    m.d.sync += [status.eq(Status.OK), count.eq(shift[:16])]
                    m.next = "BUS"
            with m.State("DATA"):
                m.d.comb += fetch.eq(1)
                with m.If(phase == 3):
                    m.next = "BUS"
            with m.State("BUS"):
                m.d.comb += self.bus_req.valid.eq(1)
                with m.If(self.bus_req.ready):
                    m.d.sync += address.eq(address + 1)
                    m.next = "RESPONSE"
                    with m.If(kind == Command.WRITE):
                        m.next = "DATA"
                        with m.If(left == 0):
                            m.next = "KIND OUT"
            with m.State("RESPONSE"):
                m.d.comb += self.bus_rsp.ready.eq(1)
                with m.If(self.bus_rsp.valid):
                    m.d.sync += [shift.eq(self.bus_rsp.payload), count.eq(count - 1)]
                    m.next = "SUM"
                    with m.If(kind == Command.READ):
                        m.next = "WORD OUT"
            with m.State("SUM"):
                m.d.comb += summing.eq(1)
                m.d.sync += [shift.eq(shift >> 8), phase.eq(phase + 1)]
                with m.If(phase == 3):
                    m.next = "BUS"
                    with m.If(count == 0):
                        m.next = "SUMMED"
            with m.State("SUMMED"):
                m.d.sync += shift.eq(crc.crc)
                m.next = "KIND OUT"

            with m.State("TOKEN"):
                m.d.comb += fetch.eq(1)
                with m.If(phase[0]):
                    m.next = "PUSH"
            with m.State("PUSH"):
                m.d.comb += self.prompt.valid.eq(1)
                with m.If(self.prompt.ready):
                    m.next = "TOKEN"
                    with m.If(left == 0):
                        m.d.sync += phase.eq(0)
                        m.next = "KIND OUT"
            with m.State("REQUEST"):
                m.d.comb += step.eq(1)
                bits = request.as_value()
                m.d.sync += bits.eq(Cat(bits[8:], self.byte))
                with m.If(left == 1):
                    m.next = "REQUEST CHECK"
            with m.State("REQUEST CHECK"):
                m.next = "KIND OUT"
                with m.If((request.count == 0) | (request.greedy > 1)):
                    m.d.sync += status.eq(Status.BAD_ARGUMENT)
                with m.Else():
                    m.d.sync += [
                        pending.eq(1),
                        active.eq(1),
                        first_event.eq(event_number),
                        once_valid.eq(1),
                        once_kind.eq(1),
                        once_seq.eq(seq),
                    ]

            with m.State("KIND OUT"):
                m.d.comb += [
                    emit.eq(1),
                    crc.start.eq(1),
                    out.eq(Mux(is_event, kind, Cat(kind[:6], Const(0b10, 2)))),
                ]
                with m.If(sent):
                    m.next = "SEQ OUT"
            with m.State("SEQ OUT"):
                m.d.comb += [emit.eq(1), out.eq(seq)]
                with m.If(sent):
                    m.next = "STATUS OUT"
                    with m.If(is_event):
                        m.next = "WORD OUT"
            with m.State("STATUS OUT"):
                m.d.comb += [emit.eq(1), out.eq(status)]
                with m.If(sent):
                    m.next = "CRC"
                    with m.If(status == Status.OK), m.Switch(kind):
                        with m.Case(Command.READ):
                            m.next = "BUS"
                        with m.Case(Command.CRC):
                            m.next = "WORD OUT"
                        with m.Case(Command.GENERATE):
                            m.d.sync += [shift.eq(first_event), phase.eq(3)]
                            m.next = "WORD OUT"
                        if self.info_length:
                            with m.Case(Command.INFO):
                                m.d.comb += pointer_next.eq(RING)
                                m.d.sync += count.eq(self.info_length)
                                m.next = "INFO"
                        if self.counter_count:
                            with m.Case(Command.COUNTERS):
                                m.d.sync += count.eq(self.counter_count)
                                m.next = "COUNTER"
            with m.State("INFO"):
                m.d.comb += [emit.eq(1), out.eq(self.byte)]
                with m.If(sent):
                    m.d.comb += pointer_next.eq(pointer + 1)
                    m.d.sync += count.eq(count - 1)
                    with m.If(count == 1):
                        m.next = "CRC"
            with m.State("COUNTER"):
                with m.Switch(count):
                    for index in range(self.counter_count):
                        with m.Case(self.counter_count - index):
                            m.d.sync += shift.eq(self.counters[index])
                m.d.sync += count.eq(count - 1)
                m.next = "WORD OUT"
            with m.State("CYCLES"):
                m.d.comb += self.done.ready.eq(1)
                m.d.sync += [shift.eq(self.done.payload.cycles), count.eq(0)]
                m.next = "WORD OUT"
            with m.State("CRC"):
                m.d.sync += [shift.eq(crc.crc), final.eq(1), phase.eq(0)]
                m.next = "WORD OUT"
            with m.State("WORD OUT"):
                m.d.comb += emit.eq(1)
                with m.If(sent):
                    m.d.sync += [shift.eq(shift >> 8), phase.eq(phase + 1)]
                    with m.If(phase == 3):
                        with m.If(final):
                            m.next = "IDLE"
                            with m.If(~is_event):
                                m.d.comb += pointer_next.eq(follow)
                                m.d.sync += self.tail.eq(follow)
                        with m.Elif(count == 0):
                            m.next = "CRC"
                        with m.Elif(is_event):
                            m.next = "CYCLES"
                        with m.Elif(kind == Command.READ):
                            m.next = "BUS"
                        with m.Else():
                            m.next = "COUNTER"
        return m
