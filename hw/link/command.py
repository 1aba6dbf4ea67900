"""Execution of checked frames, and the frames sent back."""

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.link.messages import MAX_WORDS, SPACES, Command, Event, Status
from setun.hw.link.check import CommandCheck
from setun.hw.link.cobs import ENCODER_INPUT
from setun.hw.link.crc import Crc32
from setun.hw.link.request import GenerateRequest
from setun.hw.link.signature import frame_members
from setun.hw.link.word import ReplyWord


class CommandProcessor(wiring.Component):
    """One frame at a time: take it, check it, do it, answer it; between frames, send events.

    Commands and events (errors, tokens, the end of a generation) take turns when both wait.

    Parameters
    ----------
    info_length
        Bytes of the INFO record in the receiver's memory.
    counters
        Number of 32-bit counters.
    contexts
        Of the core.

    Members
    -------
    head, tail, address, byte, error
        See `FrameReceiver`, whose other side this is.
    o : Out(stream.Signature({data: 8, last: 1}))
        Frames with their CRC, for the COBS encoder.
    Others
        See `Link`.

    Latency: about 10 cycles from `head` moving to the first byte of the reply, plus the work:
    5 cycles per word written, 7 per word read or summed, on a bus that answers in 1 cycle.
    """

    def __init__(self, info_length: int, counters: int, contexts: int = 1) -> None:
        self.info_length = info_length
        self.counter_count = counters
        self.contexts = contexts
        super().__init__(
            {
                "head": In(10),
                "tail": Out(10),
                "address": Out(11),
                "byte": In(8),
                "error": In(stream.Signature(8)),
                "o": Out(stream.Signature(ENCODER_INPUT)),
                **frame_members(counters),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.crc = crc = Crc32()
        m.submodules.check = check = CommandCheck(self.contexts)
        m.submodules.request = request = GenerateRequest()
        m.submodules.word = word = ReplyWord(self.counter_count)

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
        later = Signal()
        commands_turn = Signal()

        event_numbers = Array(Signal(8, name=f"event_number{k}") for k in range(self.contexts))
        first_event = Signal(8)
        # The last command, when it is one that must not run twice: `status` is still its own.
        once_valid = Signal()
        once = Signal(16)

        # Ring memory: the byte at `tail` is always at hand; `step` moves on to the next.
        step = Signal()
        tail_next = Signal(10)
        info_fetch = Signal()
        m.d.comb += [
            tail_next.eq(self.tail + step),
            self.address.eq(Mux(info_fetch, Cat(left, Const(0b100, 3)), tail_next)),
        ]
        m.d.sync += self.tail.eq(tail_next)
        less = Signal()
        with m.If(less):
            m.d.sync += left.eq(left - 1)

        # A word goes in and out through one shift register, lowest byte first.
        rotate = Signal()
        load = Signal()
        load_crc = Signal()
        emit = Signal()
        sent = Signal()
        out = Signal(8)
        summing = Signal()
        m.d.comb += [
            out.eq(shift[:8]),
            self.o.valid.eq(emit),
            self.o.payload.data.eq(out),
            self.o.payload.last.eq(final & (phase == 3)),
            sent.eq(emit & self.o.ready),
            crc.data.eq(out),
            crc.valid.eq(sent | summing),
        ]
        with m.If(rotate):
            m.d.sync += [shift.eq(Cat(shift[8:], self.byte)), phase.eq(phase + 1)]
        with m.If(load):
            m.d.sync += shift.eq(word.word)
        m.d.comb += [
            word.is_event.eq(is_event),
            word.kind.eq(kind),
            word.left.eq(left),
            word.cycles.eq(later),
            word.load_crc.eq(load_crc),
            word.error.eq(self.error.payload),
            word.token.eq(self.token.payload.token),
            word.done.eq(self.done.payload),
            word.first_event.eq(first_event),
            word.counters.eq(self.counters),
            word.bus_rsp.eq(self.bus_rsp.payload),
            word.crc.eq(crc.crc),
        ]

        m.d.comb += [
            self.bus_req.payload.write.eq(kind[:4] == Command.WRITE),
            self.bus_req.payload.space.eq(space),
            self.bus_req.payload.address.eq(address),
            self.bus_req.payload.data.eq(shift),
            self.prompt.payload.eq(shift[16:]),
            self.context.eq(kind[4:6]),
            request.byte.eq(self.byte),
        ]
        wiring.connect(m, wiring.flipped(self.generate), request.generate)

        repeated = Signal()
        m.d.comb += [
            check.kind.eq(kind),
            check.length.eq(left),
            check.running.eq(self.running),
            check.occupied.eq(self.occupied),
            check.generating.eq(self.generating),
            check.prompt_space.eq(self.prompt_space),
            repeated.eq(once_valid & (once == Cat(seq, kind))),
        ]

        some_event = self.error.valid | self.token.valid | self.done.valid
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += [final.eq(0), later.eq(0), phase.eq(0), is_event.eq(1)]
                with m.If((self.head != self.tail) & (commands_turn | ~some_event)):
                    m.d.sync += [commands_turn.eq(0), is_event.eq(0)]
                    m.next = "LENGTH"
                with m.Elif(some_event):
                    m.d.sync += commands_turn.eq(1)
                    m.next = "KIND OUT"
                    with m.If(self.error.valid):
                        m.d.sync += [kind.eq(Event.ERROR), seq.eq(0)]
                    # An end comes behind its tokens anyhow, and need not wait for those of others.
                    with m.Elif(self.done.valid):
                        whose = self.done.payload.context
                        m.d.sync += kind.eq(Event.DONE | (whose << 4))
                        m.d.sync += seq.eq(event_numbers[whose])
                    with m.Else():
                        whose = self.token.payload.context
                        m.d.sync += kind.eq(Event.TOKEN | (whose << 4))
                        m.d.sync += seq.eq(event_numbers[whose])
            with m.State("LENGTH"):
                m.d.comb += step.eq(1)
                m.d.sync += left.eq(self.byte)
                m.next = "KIND"
            with m.State("KIND"):
                m.d.comb += step.eq(1)
                m.d.sync += kind.eq(self.byte)
                m.next = "SEQ"
            with m.State("SEQ"):
                m.d.comb += step.eq(1)
                m.d.sync += seq.eq(self.byte)
                m.next = "CHECK"
            # Checked in one cycle, obeyed in the next: the core's answer is far from its queues.
            with m.State("CHECK"):
                m.next = "SKIP"
                with m.If(~repeated):
                    m.d.sync += [
                        status.eq(check.status),
                        once_valid.eq(kind[:4].matches(Command.PROMPT, Command.GENERATE)),
                        once.eq(Cat(seq, kind)),
                    ]
                    m.next = "OBEY"
            with m.State("OBEY"):
                m.next = "SKIP"
                with m.If(status == Status.OK), m.Switch(kind[:4]):
                    with m.Case(Command.WRITE, Command.READ, Command.CRC):
                        m.next = "SPACE"
                    with m.Case(Command.PROMPT):
                        m.next = "TOKEN"
                    with m.Case(Command.GENERATE):
                        m.next = "REQUEST"
                    with m.Case(Command.RESET):
                        m.d.comb += self.reset_state.eq(1)
                    with m.Case(Command.STOP):
                        m.d.comb += self.stop.eq(1)

            with m.State("SPACE"):
                m.d.comb += [step.eq(1), less.eq(1)]
                m.d.sync += space.eq(self.byte)
                m.next = "ADDRESS"
                with m.If(self.byte >= SPACES):
                    m.d.sync += status.eq(Status.BAD_ARGUMENT)
                    m.next = "SKIP"
            with m.State("ADDRESS"):
                m.d.comb += [step.eq(1), less.eq(1), rotate.eq(1)]
                m.d.sync += address.eq(Cat(shift[8:], self.byte))
                with m.If(phase == 3):
                    m.next = "COUNT"
                    with m.If(kind[:4] == Command.WRITE):
                        m.next = "DATA"
            with m.State("COUNT"):
                m.d.comb += [step.eq(1), less.eq(1), rotate.eq(1)]
                with m.If(left == 1):
                    m.next = "COUNT CHECK"
            with m.State("COUNT CHECK"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += [phase.eq(0), count.eq(shift[:16])]
                m.next = "SKIP"
                m.d.sync += status.eq(Status.BAD_ARGUMENT)
                words = shift[24:]
                with m.If((kind[:4] == Command.READ) & (words != 0) & (words <= MAX_WORDS)):
                    m.d.sync += status.eq(Status.OK)
                with m.If((kind[:4] == Command.CRC) & (shift[:16] != 0) & (shift[16:] == 0)):
                    m.d.sync += status.eq(Status.OK)
                    m.next = "BUS"
            with m.State("DATA"):
                m.d.comb += [step.eq(1), less.eq(1), rotate.eq(1)]
                with m.If(phase == 3):
                    m.next = "BUS"
            with m.State("BUS"):
                m.d.comb += self.bus_req.valid.eq(1)
                with m.If(self.bus_req.ready):
                    m.d.sync += address.eq(address + 1)
                    m.next = "LOAD"
                    with m.If(kind[:4] == Command.WRITE):
                        m.next = "DATA"
                        with m.If(left == 0):
                            m.next = "SKIP"
            with m.State("SUM"):
                m.d.comb += [summing.eq(1), rotate.eq(1)]
                with m.If(phase == 3):
                    m.d.sync += count.eq(count - 1)
                    m.next = "BUS"
                    with m.If(count == 1):
                        m.next = "SUMMED"
            with m.State("SUMMED"):
                m.d.comb += [load.eq(1), load_crc.eq(1)]
                m.next = "SKIP"
            with m.State("TOKEN"):
                m.d.comb += [step.eq(1), less.eq(1), rotate.eq(1)]
                with m.If(phase[0]):
                    m.next = "PUSH"
            with m.State("PUSH"):
                m.d.comb += self.prompt.valid.eq(1)
                with m.If(self.prompt.ready):
                    m.next = "TOKEN"
                    with m.If(left == 0):
                        m.d.sync += phase.eq(0)
                        m.next = "SKIP"
            with m.State("REQUEST"):
                m.d.comb += [step.eq(1), less.eq(1), request.take.eq(1)]
                with m.If(left == 1):
                    m.next = "REQUEST CHECK"
            with m.State("REQUEST CHECK"):
                m.next = "SKIP"
                with m.If(request.good):
                    m.d.comb += request.start.eq(1)
                    m.d.sync += first_event.eq(event_numbers[self.context])
                with m.Else():
                    m.d.sync += status.eq(Status.BAD_ARGUMENT)
            with m.State("SKIP"):
                m.d.comb += [step.eq(left != 0), less.eq(left != 0), crc.start.eq(1)]
                with m.If(left == 0):
                    m.next = "KIND OUT"

            with m.State("KIND OUT"):
                m.d.comb += [emit.eq(1), out.eq(Cat(kind[:6], is_event, 1))]
                with m.If(sent):
                    m.next = "SEQ OUT"
            with m.State("SEQ OUT"):
                m.d.comb += [emit.eq(1), out.eq(seq)]
                with m.If(sent):
                    m.next = "STATUS OUT"
                    with m.If(is_event):
                        m.next = "LOAD"
            with m.State("STATUS OUT"):
                m.d.comb += [emit.eq(1), out.eq(status)]
                with m.If(sent):
                    m.next = "CRC OUT"
                    with m.If(status == Status.OK), m.Switch(kind[:4]):
                        with m.Case(Command.READ):
                            m.d.sync += left.eq(shift[24:])
                            m.next = "BUS"
                        with m.Case(Command.CRC):
                            m.next = "WORD OUT"
                        with m.Case(Command.GENERATE):
                            m.next = "LOAD"
                        if self.info_length:
                            with m.Case(Command.INFO):
                                m.d.sync += left.eq(self.info_length)
                                m.next = "INFO"
                        if self.counter_count:
                            with m.Case(Command.COUNTERS):
                                m.d.sync += left.eq(self.counter_count)
                                m.next = "LOAD"
            with m.State("INFO"):
                m.d.comb += info_fetch.eq(1)
                m.next = "INFO OUT"
            with m.State("INFO OUT"):
                m.d.comb += [emit.eq(1), out.eq(self.byte)]
                with m.If(sent):
                    m.d.comb += less.eq(1)
                    m.next = "INFO"
                    with m.If(left == 1):
                        m.next = "CRC OUT"
            with m.State("LOAD"):
                m.next = "WORD OUT"
                m.d.comb += load.eq(1)
                number = event_numbers[kind[4:6]]
                with m.If(is_event), m.Switch(kind[:4]):
                    with m.Case(Event.ERROR & 15):
                        m.d.comb += self.error.ready.eq(1)
                        m.d.sync += phase.eq(3)
                    with m.Case(Event.TOKEN & 15):
                        m.d.comb += self.token.ready.eq(1)
                        m.d.sync += [phase.eq(2), number.eq(number + 1)]
                    with m.Default():
                        m.d.comb += self.done.ready.eq(later)
                        with m.If(~later):
                            m.d.sync += [phase.eq(1), number.eq(number + 1)]
                with m.Else(), m.Switch(kind[:4]):
                    with m.Case(Command.GENERATE):
                        m.d.sync += phase.eq(3)
                    with m.Case(Command.COUNTERS):
                        m.d.comb += less.eq(1)
                    with m.Default():
                        m.d.comb += self.bus_rsp.ready.eq(1)
                        with m.If(~self.bus_rsp.valid):
                            m.next = "LOAD"
                        with m.Elif(kind[:4] == Command.CRC):
                            m.next = "SUM"
                        with m.Else():
                            m.d.comb += less.eq(1)
            with m.State("CRC OUT"):
                m.d.comb += [load.eq(1), load_crc.eq(1)]
                m.d.sync += [final.eq(1), phase.eq(0)]
                m.next = "WORD OUT"
            with m.State("WORD OUT"):
                m.d.comb += [emit.eq(1), rotate.eq(sent)]
                with m.If(sent & (phase == 3)):
                    m.next = "CRC OUT"
                    with m.If(final):
                        m.next = "IDLE"
                    with m.Elif(is_event & (kind[:4] == (Event.DONE & 15)) & ~later):
                        m.d.sync += later.eq(1)
                        m.next = "LOAD"
                    with m.Elif(left != 0):
                        m.next = "BUS"
                        with m.If(kind[:4] == Command.COUNTERS):
                            m.next = "LOAD"
        return m
