"""Execution of checked frames, and the frames sent back."""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.link.messages import MAX_WORDS, SPACES, Command, Event, Status
from setun.hw.link.check import CommandCheck
from setun.hw.link.cobs import ENCODER_INPUT
from setun.hw.link.crc import Crc32
from setun.hw.link.registers import Registers
from setun.hw.link.reply import reply_states
from setun.hw.link.request import GenerateRequest
from setun.hw.link.signature import Ties, frame_members
from setun.hw.link.word import ReplyWord


class CommandProcessor(wiring.Component):
    """One frame at a time: take it, check it, do it, answer it; between frames, send events.

    Commands and events (errors, tokens, the end of a generation) take turns when both wait.

    Parameters
    ----------
    info_length
        Bytes of the INFO record in the receiver's memory.
    ties
        To the core.

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

    def __init__(self, info_length: int, ties: Ties) -> None:
        self.info_length = info_length
        self.ties = ties
        super().__init__(
            {
                "head": In(10),
                "tail": Out(10),
                "address": Out(11),
                "byte": In(8),
                "error": In(stream.Signature(8)),
                "o": Out(stream.Signature(ENCODER_INPUT)),
                **frame_members(ties),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.crc = crc = Crc32()
        m.submodules.check = check = CommandCheck(self.ties)
        m.submodules.request = request = GenerateRequest(self.ties)
        m.submodules.word = word = ReplyWord(self.ties)
        r = Registers(self.ties.contexts)
        repeated = Signal()
        self._ring(m, r)
        self._shift(m, r, crc, word)
        self._core(m, r, request)
        m.d.comb += [
            check.kind.eq(r.kind),
            check.length.eq(r.left),
            check.running.eq(self.running),
            check.occupied.eq(self.occupied),
            check.generating.eq(self.generating),
            check.prompt_space.eq(self.prompt_space),
            repeated.eq(r.once_valid & (r.once == Cat(r.seq, r.kind))),
        ]
        with m.FSM():
            self._idle(m, r, crc)
            self._header(m, r, check, request, repeated)
            self._memory(m, r, crc)
            self._context(m, r, request)
            reply_states(m, r, crc, self, info=self.info_length)
        return m

    def _ring(self, m: Module, r: Registers) -> None:
        """Ring memory: the byte at `tail` is always at hand; `step` moves on to the next."""
        tail_next = Signal(10)
        m.d.comb += [
            tail_next.eq(self.tail + r.step),
            self.address.eq(Mux(r.info_fetch, Cat(r.left, Const(0b100, 3)), tail_next)),
        ]
        m.d.sync += self.tail.eq(tail_next)
        with m.If(r.less):
            m.d.sync += r.left.eq(r.left - 1)

    def _shift(self, m: Module, r: Registers, crc: Crc32, word: ReplyWord) -> None:
        """A word goes in and out through one shift register, lowest byte first."""
        m.d.comb += [
            r.out.eq(r.shift[:8]),
            self.o.valid.eq(r.emit),
            self.o.payload.data.eq(r.out),
            self.o.payload.last.eq(r.final & (r.phase == 3)),
            r.sent.eq(r.emit & self.o.ready),
            crc.data.eq(r.out),
            crc.valid.eq(r.sent | r.summing),
        ]
        with m.If(r.rotate):
            m.d.sync += [r.shift.eq(Cat(r.shift[8:], self.byte)), r.phase.eq(r.phase + 1)]
        with m.If(r.load):
            m.d.sync += r.shift.eq(word.word)
        m.d.comb += [
            word.is_event.eq(r.is_event),
            word.kind.eq(r.kind),
            word.left.eq(r.left),
            word.cycles.eq(r.later),
            word.load_crc.eq(r.load_crc),
            word.error.eq(self.error.payload),
            word.token.eq(self.token.payload.token),
            word.done.eq(self.done.payload),
            word.first_event.eq(r.first_event),
            word.counters.eq(self.counters),
            word.bus_rsp.eq(self.bus_rsp.payload),
            word.crc.eq(crc.crc),
        ]

    def _core(self, m: Module, r: Registers, request: GenerateRequest) -> None:
        """What the core sees of a command."""
        m.d.comb += [
            self.bus_req.payload.write.eq(r.kind[:4] == Command.WRITE),
            self.bus_req.payload.space.eq(r.space),
            self.bus_req.payload.address.eq(r.address),
            self.bus_req.payload.data.eq(r.shift),
            self.prompt.payload.eq(r.shift[32 - 8 * self.ties.token_bytes :]),
            self.context.eq(r.kind[4:6]),
            request.byte.eq(self.byte),
            request.left.eq(r.left),
            self.end_tokens.eq(request.end_tokens),
        ]
        wiring.connect(m, wiring.flipped(self.generate), request.generate)

    def _idle(self, m: Module, r: Registers, crc: Crc32) -> None:
        """Whose turn it is: the next command's, or an event's."""
        some_event = self.error.valid | self.token.valid | self.done.valid
        with m.State("IDLE"):
            m.d.comb += crc.start.eq(1)
            m.d.sync += [r.final.eq(0), r.later.eq(0), r.phase.eq(0), r.is_event.eq(1)]
            with m.If((self.head != self.tail) & (r.commands_turn | ~some_event)):
                m.d.sync += [r.commands_turn.eq(0), r.is_event.eq(0)]
                m.next = "LENGTH"
            with m.Elif(some_event):
                m.d.sync += r.commands_turn.eq(1)
                m.next = "KIND OUT"
                with m.If(self.error.valid):
                    m.d.sync += [r.kind.eq(Event.ERROR), r.seq.eq(0)]
                # An end comes behind its tokens anyhow, and need not wait for those of others.
                with m.Elif(self.done.valid):
                    whose = self.done.payload.context
                    m.d.sync += r.kind.eq(Event.DONE | (whose << 4))
                    m.d.sync += r.seq.eq(r.event_numbers[whose])
                with m.Else():
                    whose = self.token.payload.context
                    m.d.sync += r.kind.eq(Event.TOKEN | (whose << 4))
                    m.d.sync += r.seq.eq(r.event_numbers[whose])

    def _header(
        self,
        m: Module,
        r: Registers,
        check: CommandCheck,
        request: GenerateRequest,
        repeated: Value,
    ) -> None:
        """Length, type and number of a command; whether it is obeyed."""
        with m.State("LENGTH"):
            m.d.comb += r.step.eq(1)
            m.d.sync += r.left.eq(self.byte)
            m.next = "KIND"
        with m.State("KIND"):
            m.d.comb += r.step.eq(1)
            m.d.sync += r.kind.eq(self.byte)
            m.next = "SEQ"
        with m.State("SEQ"):
            m.d.comb += r.step.eq(1)
            m.d.sync += r.seq.eq(self.byte)
            m.next = "CHECK"
        # Checked in one cycle, obeyed in the next: the core's answer is far from its queues.
        with m.State("CHECK"):
            m.next = "SKIP"
            with m.If(~repeated):
                m.d.sync += [
                    r.status.eq(check.status),
                    r.once_valid.eq(r.kind[:4].matches(Command.PROMPT, Command.GENERATE)),
                    r.once.eq(Cat(r.seq, r.kind)),
                ]
                m.next = "OBEY"
        with m.State("OBEY"):
            m.next = "SKIP"
            with m.If(r.status == Status.OK), m.Switch(r.kind[:4]):
                with m.Case(Command.WRITE, Command.READ, Command.CRC):
                    m.next = "SPACE"
                with m.Case(Command.PROMPT):
                    m.next = "TOKEN"
                with m.Case(Command.GENERATE):
                    m.d.comb += request.begin.eq(1)
                    m.next = "REQUEST"
                with m.Case(Command.RESET):
                    m.d.comb += self.reset_state.eq(1)
                with m.Case(Command.STOP):
                    m.d.comb += self.stop.eq(1)

    def _memory(self, m: Module, r: Registers, crc: Crc32) -> None:
        """WRITE, READ, CRC: where, how much, and the words on the bus."""
        with m.State("SPACE"):
            m.d.comb += [r.step.eq(1), r.less.eq(1)]
            m.d.sync += r.space.eq(self.byte)
            m.next = "ADDRESS"
            with m.If(self.byte >= SPACES):
                m.d.sync += r.status.eq(Status.BAD_ARGUMENT)
                m.next = "SKIP"
        with m.State("ADDRESS"):
            m.d.comb += [r.step.eq(1), r.less.eq(1), r.rotate.eq(1)]
            m.d.sync += r.address.eq(Cat(r.shift[8:], self.byte))
            with m.If(r.phase == 3):
                m.next = "COUNT"
                with m.If(r.kind[:4] == Command.WRITE):
                    m.next = "DATA"
        with m.State("COUNT"):
            m.d.comb += [r.step.eq(1), r.less.eq(1), r.rotate.eq(1)]
            with m.If(r.left == 1):
                m.next = "COUNT CHECK"
        with m.State("COUNT CHECK"):
            m.d.comb += crc.start.eq(1)
            m.d.sync += [r.phase.eq(0), r.count.eq(r.shift[:16])]
            m.next = "SKIP"
            m.d.sync += r.status.eq(Status.BAD_ARGUMENT)
            words = r.shift[24:]
            with m.If((r.kind[:4] == Command.READ) & (words != 0) & (words <= MAX_WORDS)):
                m.d.sync += r.status.eq(Status.OK)
            with m.If((r.kind[:4] == Command.CRC) & (r.shift[:16] != 0) & (r.shift[16:] == 0)):
                m.d.sync += r.status.eq(Status.OK)
                m.next = "BUS"
        with m.State("DATA"):
            m.d.comb += [r.step.eq(1), r.less.eq(1), r.rotate.eq(1)]
            with m.If(r.phase == 3):
                m.next = "BUS"
        with m.State("BUS"):
            m.d.comb += self.bus_req.valid.eq(1)
            with m.If(self.bus_req.ready):
                m.d.sync += r.address.eq(r.address + 1)
                m.next = "LOAD"
                with m.If(r.kind[:4] == Command.WRITE):
                    m.next = "DATA"
                    with m.If(r.left == 0):
                        m.next = "SKIP"
        with m.State("SUM"):
            m.d.comb += [r.summing.eq(1), r.rotate.eq(1)]
            with m.If(r.phase == 3):
                m.d.sync += r.count.eq(r.count - 1)
                m.next = "BUS"
                with m.If(r.count == 1):
                    m.next = "SUMMED"
        with m.State("SUMMED"):
            m.d.comb += [r.load.eq(1), r.load_crc.eq(1)]
            m.next = "SKIP"

    def _context(self, m: Module, r: Registers, request: GenerateRequest) -> None:
        """PROMPT and GENERATE."""
        with m.State("TOKEN"):
            m.d.comb += [r.step.eq(1), r.less.eq(1), r.rotate.eq(1)]
            with m.If(r.phase[: ceil_log2(self.ties.token_bytes)].all()):
                m.next = "PUSH"
        with m.State("PUSH"):
            m.d.comb += self.prompt.valid.eq(1)
            with m.If(self.prompt.ready):
                m.next = "TOKEN"
                with m.If(r.left == 0):
                    m.d.sync += r.phase.eq(0)
                    m.next = "SKIP"
        with m.State("REQUEST"):
            m.d.comb += [r.step.eq(1), r.less.eq(1), request.take.eq(1)]
            with m.If(r.left == 1):
                m.next = "REQUEST CHECK"
        with m.State("REQUEST CHECK"):
            m.next = "SKIP"
            with m.If(request.good):
                m.d.comb += request.start.eq(1)
                m.d.sync += r.first_event.eq(r.event_numbers[self.context])
            with m.Else():
                m.d.sync += r.status.eq(Status.BAD_ARGUMENT)
