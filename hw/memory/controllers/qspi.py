"""Quad SPI NOR flash: sequential reads at the pins' pace, and loads of whole sectors."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from setun.firmware.errors import SetunError
from setun.firmware.memory_kinds import SECTOR
from setun.hw.memory.controllers.port import MAX_BEATS, controller_members
from setun.hw.memory.controllers.qspi_parts import PAGE, FlashPart, flash_pins
from setun.hw.memory.controllers.qspi_shift import QspiShifter
from setun.hw.memory.controllers.qspi_state import Beats, Requests, Step
from setun.hw.memory.controllers.sdram_timing import Span

BEAT = 32
CLOCKS = BEAT // 4
# Keeps the continuous mode by any maker's rule: M5-4 = 10, M7-4 = 1010, or M7-4 = ~M3-0.
CONTINUE = 0xA5


class QspiFlash(wiring.Component):
    """Reads of one quad SPI flash as one endless burst, as long as each begins where one ended.

    Reads are 0xEB in continuous mode: only the first has an opcode. CS# stays low and SCK rests
    until the next request; if that continues, its data follow without a clock in between. SCK
    rests too while nobody takes beats.

    Writes are a load in ascending order. The first word of a sector of 4 KB erases the sector; a
    page program stays open while words continue, and ends with its page, with a read or with a
    write elsewhere. A write anywhere but behind the last one programs without erasing, so bits
    only go from 1 to 0. Up to 63 words may be in a program that has not ended: read after a load.

    Parameters
    ----------
    part
        The part and its figures.
    clock_hz
        Of the domain `sync`; SCK has half of it.
    base
        Byte of the flash where address 0 lies, behind the FPGA's own image: whole sectors.
    round_trip
        Cycles from SCK's falling edge in its register to the register of `io_i` that takes the
        data: 2 if pads and tV together last less than that, one more for every register in the
        pads.
    settle_us
        Replaces the part's pause after wake-up and reset, to shorten simulations.

    Members
    -------
    read, o, bus_req, bus_rsp, ready
        See `setun.hw.memory.controllers.port.controller_members`; beats of 32 bits, the byte of the
        lowest address in the lowest bits. `bus_req` waits for erasing and programming.
    pins : Out
        See `setun.hw.memory.controllers.qspi_parts.flash_pins`; registers all.

    Attributes
    ----------
    burst
        Beats of the longest read. Reads may cross any boundary.

    Latency from a request elsewhere to its first beat, tSHSL in between: 27 cycles, those of
    tSHSL, `round_trip` and 2 * (7 + dummy). Throughput: one beat in 16 cycles, that is 4 bits
    per SCK, also from one sequential request to the next.
    """

    def __init__(
        self,
        part: FlashPart,
        clock_hz: float,
        *,
        base: int = 0,
        round_trip: int = 2,
        settle_us: float | None = None,
    ) -> None:
        if base % SECTOR or not 0 <= base < part.capacity:
            rule = f"must be a multiple of {SECTOR} bytes within {part.name}'s {part.capacity}"
            raise SetunError("base", rule, base)
        if not 0 < clock_hz <= 2 * part.sck_hz:
            rule = f"must be at most {2 * part.sck_hz / 1e6:g} MHz, twice {part.name}'s SCK"
            raise SetunError("clock_hz", rule, clock_hz)
        if round_trip < 1:
            raise SetunError("round_trip", "must be at least 1 cycle", round_trip)
        self.part, self.base, self.round_trip = part, base, round_trip
        self.burst = MAX_BEATS
        settle = part.settle_us if settle_us is None else settle_us
        self.settle = Span(ns=settle * 1000).at(clock_hz)
        # What the part said last is in `word` before CS# may fall again.
        self.gap = Span(ns=part.deselect_ns, cycles=round_trip + 3).at(clock_hz)
        members = controller_members(BEAT, part.capacity - base)
        super().__init__(members | {"pins": Out(flash_pins())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        requests, beats = Requests(self.part.capacity // 4), Beats()
        step = Signal(Step, init=Step.EXIT)
        m.submodules.shifter = shifter = QspiShifter(round_trip=self.round_trip)
        for name in ("sck", "io_o", "io_oe"):
            m.d.comb += getattr(self.pins, name).eq(getattr(shifter.pins, name))
        m.d.comb += shifter.pins.io_i.eq(self.pins.io_i)

        self._intake(m, requests)
        self._return(m, step, beats, shifter)
        self._sequence(m, step, requests, beats, shifter)
        return m

    def _intake(self, m: Module, requests: Requests) -> None:
        """Take requests into `next`: reads first, then the link's."""
        read, link, new = self.read, self.bus_req, requests.next
        free = Signal()
        m.d.comb += [
            free.eq(self.ready & ~requests.next_valid),
            read.ready.eq(free),
            link.ready.eq(free & ~read.valid),
        ]
        address = Mux(read.valid, read.payload.address, link.payload.address)
        with m.If(free):
            m.d.sync += [
                new.address.eq(address + self.base // 4),
                new.beats.eq(Mux(read.valid, read.payload.beats, 1)),
                new.link.eq(~read.valid),
                new.write.eq(~read.valid & link.payload.write),
                new.data.eq(link.payload.data),
                requests.next_valid.eq(read.valid | link.valid),
            ]
        with m.Elif(requests.take):
            m.d.sync += requests.next_valid.eq(0)
        m.d.sync += [
            requests.follows.eq(new.address == requests.position),
            requests.looked.eq(requests.next_valid & ~requests.take & ~requests.moves),
        ]

    def _return(self, m: Module, step: Signal, beats: Beats, shifter: QspiShifter) -> None:
        """Beats that come back, to `o` or to the link: one in `word`, one on offer."""
        full, valid, beat = Signal(), Signal(), Signal(BEAT)
        o, link = self.o, self.bus_rsp
        m.d.comb += [
            o.payload.eq(beat),
            link.payload.eq(beat),
            o.valid.eq(valid & ~beats.to_link),
            link.valid.eq(valid & beats.to_link),
            beats.taken.eq(valid & Mux(beats.to_link, link.ready, o.ready)),
        ]
        m.d.sync += beats.pending.eq(beats.pending + beats.asked - beats.taken)
        with m.If(beats.taken):
            m.d.sync += valid.eq(0)
        with m.If(full & (~valid | beats.taken)):
            m.d.sync += [valid.eq(1), beat.eq(bytes_swapped(shifter.word)), full.eq(0)]
        with m.If(shifter.done & (step == Step.READ)):
            m.d.sync += full.eq(1)

    def _sequence(
        self,
        m: Module,
        step: Signal,
        requests: Requests,
        beats: Beats,
        shifter: QspiShifter,
    ) -> None:
        """One transaction after the other."""
        part, op, next_ = self.part, shifter.op, requests.next
        goal = Signal(Step, init=Step.RESET)
        continuous = Signal()
        left = Signal(range(MAX_BEATS + 1))
        wait = Signal(range(max(self.settle, self.gap) + 1), init=self.gap)
        page_words = PAGE // 4
        more = requests.looked & requests.follows
        with m.FSM():
            with m.State("START"):
                # The reset has raised CS#, in the middle of whatever.
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.next = "SELECT"
            with m.State("SELECT"):
                m.d.sync += self.pins.cs_n.eq(0)
                m.next = "OPCODE"
                with m.If((step == Step.READ) & continuous):
                    m.next = "ADDRESS"
            with m.State("OPCODE"):
                m.d.comb += op.valid.eq(1)
                self._opcode(m, step, requests, shifter)
                with m.If(op.ready):
                    m.next = "CLOSE"
                    with m.Switch(step):
                        with m.Case(Step.LOOK, Step.POLL):
                            m.next = "STATUS"
                        with m.Case(Step.READ):
                            m.next = "ADDRESS"
                        with m.Case(Step.PROGRAM):
                            m.next = "WRITE"
            with m.State("STATUS"):
                m.d.comb += [
                    op.valid.eq(1),
                    op.payload.count.eq(8),
                    op.payload.input.eq(1),
                    op.payload.keep.eq(1),
                ]
                with m.If(op.ready):
                    m.next = "CLOSE"
            with m.State("ADDRESS"):
                m.d.comb += [
                    op.valid.eq(1),
                    op.payload.data.eq(Cat(Const(CONTINUE, 8), requests.address)),
                    op.payload.count.eq(8),
                    op.payload.quad.eq(1),
                ]
                m.d.sync += continuous.eq(1)
                with m.If(op.ready):
                    m.next = "DUMMY"
            with m.State("DUMMY"):
                m.d.comb += [
                    op.valid.eq(1),
                    op.payload.count.eq(part.dummy),
                    op.payload.quad.eq(1),
                    op.payload.input.eq(1),
                ]
                with m.If(op.ready):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += [
                    op.valid.eq((left != 0) & (beats.pending != 2)),
                    op.payload.count.eq(CLOCKS),
                    op.payload.quad.eq(1),
                    op.payload.input.eq(1),
                    op.payload.keep.eq(1),
                ]
                with m.If(op.valid & op.ready):
                    m.d.comb += [beats.asked.eq(1), requests.moves.eq(1)]
                    m.d.sync += [left.eq(left - 1), requests.position.eq(requests.position + 1)]
                with m.If((left == 0) & requests.looked):
                    with m.If(next_.write | ~requests.follows):
                        m.next = "CLOSE"
                    with m.Elif((next_.link == beats.to_link) | (beats.pending == 0)):
                        m.d.comb += requests.take.eq(1)
                        m.d.sync += [left.eq(next_.beats), beats.to_link.eq(next_.link)]
            with m.State("WRITE"):
                m.d.comb += [
                    op.valid.eq(more & next_.write),
                    op.payload.data.eq(bytes_swapped(next_.data)),
                    op.payload.count.eq(32),
                ]
                with m.If(op.valid & op.ready):
                    m.d.comb += [requests.take.eq(1), requests.moves.eq(1)]
                    m.d.sync += requests.position.eq(requests.position + 1)
                    with m.If(requests.position % page_words == page_words - 1):
                        m.next = "CLOSE"
                with m.Elif(requests.looked & ~(requests.follows & next_.write)):
                    m.next = "CLOSE"
            with m.State("CLOSE"):
                with m.If(shifter.idle):
                    # `SELECT` is the last cycle of the gap.
                    m.d.sync += [self.pins.cs_n.eq(1), wait.eq(self.gap - 2)]
                    with m.If((step == Step.RELEASE) | (step == Step.RESET)):
                        m.d.sync += wait.eq(max(self.settle, self.gap) - 2)
                    m.next = "GAP"
            with m.State("GAP"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.next = "SELECT"
                    self._follow(m, step, shifter.word, goal, continuous)
            with m.State("IDLE"):
                m.d.comb += requests.moves.eq(1)
                m.d.sync += requests.position.eq(next_.address)
                # A word that waits to be taken would be lost to the part's status.
                with m.If(requests.next_valid & next_.write & (beats.pending == 0)):
                    first = next_.address % (SECTOR // 4) == 0
                    m.d.sync += [
                        goal.eq(Mux(first, Step.ERASE, Step.PROGRAM)),
                        step.eq(Mux(continuous, Step.EXIT, Step.ENABLE)),
                    ]
                    m.next = "SELECT"
                with m.If(requests.next_valid & ~next_.write):
                    m.d.sync += step.eq(Step.READ)
                    m.next = "SELECT"

    def _follow(
        self, m: Module, step: Signal, said: Value, goal: Signal, continuous: Signal
    ) -> None:
        """What comes behind each step: its `SELECT`, or `IDLE`."""
        part = self.part
        with m.Switch(step):
            with m.Case(Step.EXIT):
                m.d.sync += [
                    continuous.eq(0),
                    step.eq(Mux(self.ready, Step.ENABLE, Step.RELEASE)),
                ]
            with m.Case(Step.RELEASE):
                m.d.sync += step.eq(Step.RESET_ENABLE)
            with m.Case(Step.RESET_ENABLE):
                m.d.sync += step.eq(Step.RESET)
            if part.quad_enable:
                with m.Case(Step.LOOK):
                    m.d.sync += step.eq(Step.ENABLE)
                    with m.If((said & part.quad_enable.bit) != 0):
                        m.d.sync += self.ready.eq(1)
                        m.next = "IDLE"
            with m.Case(Step.ENABLE):
                m.d.sync += step.eq(goal)
            with m.Case(Step.RESET, Step.SET, Step.ERASE, Step.PROGRAM):
                m.d.sync += step.eq(Step.POLL)
            with m.Case(Step.POLL):
                with m.If(~said[0]):
                    with m.If(goal == Step.ERASE):
                        m.d.sync += [goal.eq(Step.PROGRAM), step.eq(Step.ENABLE)]
                    with m.Elif((goal == Step.RESET) & bool(part.quad_enable)):
                        m.d.sync += [goal.eq(Step.SET), step.eq(Step.LOOK)]
                    with m.Else():
                        m.d.sync += self.ready.eq(1)
                        m.next = "IDLE"
            with m.Case(Step.READ):
                m.next = "IDLE"

    def _opcode(self, m: Module, step: Signal, requests: Requests, shifter: QspiShifter) -> None:
        """What each step says first."""
        op, enable = shifter.op.payload, self.part.quad_enable
        single = {
            Step.RELEASE: 0xAB,
            Step.RESET_ENABLE: 0x66,
            Step.RESET: 0x99,
            Step.ENABLE: 0x06,
            Step.POLL: 0x05,
            Step.READ: 0xEB,
        }
        m.d.comb += op.count.eq(8)
        with m.Switch(step):
            for known, opcode in single.items():
                with m.Case(known):
                    m.d.comb += op.data.eq(opcode << 24)
            with m.Case(Step.EXIT):
                m.d.comb += [op.data.eq(-1), op.quad.eq(1)]
            for known, opcode in ((Step.ERASE, 0x20), (Step.PROGRAM, 0x02)):
                with m.Case(known):
                    m.d.comb += [
                        op.data.eq(Cat(requests.address, Const(opcode, 8))),
                        op.count.eq(32),
                    ]
            if enable:
                with m.Case(Step.LOOK):
                    m.d.comb += op.data.eq(enable.read << 24)
                with m.Case(Step.SET):
                    # The register's other bits stay what they are.
                    value = shifter.word[:8] | enable.bit
                    m.d.comb += [
                        op.data.eq(Cat(Const(0, 16), value, Const(enable.write, 8))),
                        op.count.eq(16),
                    ]


def bytes_swapped(word: Value) -> Value:
    """The other way round: flash sends the lowest address first, from its top bit down."""
    return Cat(word[k : k + 8] for k in range(24, -1, -8))
