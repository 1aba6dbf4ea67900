"""SDR SDRAM: pages streamed through open rows of four banks, refresh and the link in between."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from setun.hw.memory.controllers.port import controller_members
from setun.hw.memory.controllers.sdram_refresh import RefreshTimer
from setun.hw.memory.controllers.sdram_return import ReadReturn
from setun.hw.memory.controllers.sdram_state import Accesses, Columns, Rows, Turns
from setun.hw.memory.controllers.sdram_timing import (
    A10,
    BANKS,
    Command,
    SdramPart,
    sdram_pins,
    sdram_timing,
)

BURST = 2  # beats of a READ: every other cycle is free for the rows' commands


def slots(cycles: int) -> int:
    """Row slots to skip so that two row commands are at least `cycles` apart."""
    return max(0, -(-cycles // 2) - 1)


class SdramController(wiring.Component):
    """Reads of one SDR SDRAM at the pace of its pins.

    Beats are numbered row, bank, column: a sequential read walks the banks, and the next bank's
    row opens while this one's streams. Commands for columns and for rows take turns, one cycle
    each, and a READ delivers two beats, so opening rows costs no beat; refreshing does, and is
    put off while reads wait, several refreshes to one interruption.

    Parameters
    ----------
    part
        The part and its figures.
    clock_hz
        Of the domain `sync`, and of the part.
    round_trip
        Edges that the board adds between the registers of the command pins and that of `dq_i`,
        beyond the CAS latency; 1 when the part samples the pins one edge after they change and
        its data return within the cycle. One more for every register in the pads.
    cas_latency
        None takes the lowest that the clock allows.
    power_up_us
        Replaces the part's pause before the first command, to shorten simulations.
    postponed
        Refreshes put off, at most, while reads wait; 1 to 7.

    Members
    -------
    read, o, bus_req, bus_rsp, ready
        See `setun.hw.memory.controllers.port.controller_members`.
    pins : Out
        See `setun.hw.memory.controllers.sdram_timing.sdram_pins`; every output is a register, and
        so is what `dq_i` enters. The part's clock is made by the top level.

    Attributes
    ----------
    burst
        Beats of a page: a row's columns. No read crosses a boundary of them.
    timing
        What the controller counts.

    Latency from a request to its first beat, row open: 10 + CAS latency + `round_trip` cycles, and
    one more in every other cycle; 3 to 8 more if the row must be opened first.
    Throughput one beat a cycle less the refreshes, if requests are of 8 beats or more, aligned to
    two, and one that changes a bank's row does not follow an access to that bank.
    """

    def __init__(
        self,
        part: SdramPart,
        clock_hz: float,
        *,
        round_trip: int = 1,
        cas_latency: int | None = None,
        power_up_us: float | None = None,
        postponed: int = 4,
    ) -> None:
        self.part = part
        self.timing = sdram_timing(part, clock_hz, cas_latency=cas_latency, power_up_us=power_up_us)
        self.burst = part.columns
        self.return_delay = 1 + self.timing.cas_latency + round_trip
        self.postponed = postponed
        # All that is on its way when nobody takes it, and the way of a place given back.
        self.depth = 16 if self.return_delay <= 6 else 32
        members = controller_members(part.dq, part.capacity)
        super().__init__(members | {"pins": Out(sdram_pins(part))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        turns, accesses = Turns(), Accesses(self.part)
        columns, rows = Columns(), Rows(self.part)
        m.d.sync += [turns.row.eq(turns.column), turns.column.eq(~turns.column)]

        self._intake(m, accesses)
        self._columns(m, turns, accesses, columns)
        self._return(m, turns, accesses, columns)
        self._rows(m, turns, accesses, columns, rows)
        self._drive(m, turns, accesses, columns, rows)
        return m

    def _intake(self, m: Module, accesses: Accesses) -> None:
        """Take requests into `next`: reads first, then the link's one at a time."""
        read, link = self.read, self.bus_req
        free = Signal()
        m.d.comb += [
            free.eq(self.ready & ~accesses.next_valid),
            read.ready.eq(free),
            link.ready.eq(free & ~read.valid & ~accesses.link_busy),
        ]
        beats_of_word = 32 // self.part.dq
        word_bits = beats_of_word.bit_length() - 1
        start = Signal.like(read.payload.address)
        beats = Signal.like(read.payload.beats)
        with m.If(read.valid):
            m.d.comb += [start.eq(read.payload.address), beats.eq(read.payload.beats)]
        with m.Else():
            m.d.comb += [
                start.eq(Cat(Const(0, word_bits), link.payload.address)),
                beats.eq(beats_of_word),
            ]
        new = accesses.next
        with m.If(free):
            m.d.sync += [
                Cat(new.pair, new.bank, new.row).eq(start[1:]),
                new.left.eq((beats - ~start[0]) >> 1),
                new.skip_first.eq(start[0]),
                new.skip_last.eq(start[0] ^ beats[0]),
                new.link.eq(~read.valid),
                new.write.eq(~read.valid & link.payload.write),
                accesses.next_valid.eq(read.valid | (link.valid & link.ready)),
            ]
        with m.If(link.valid & link.ready):
            m.d.sync += [accesses.link_busy.eq(1), accesses.link_data.eq(link.payload.data)]

    def _columns(self, m: Module, turns: Turns, accesses: Accesses, columns: Columns) -> None:
        """READ or WRITE of a pair of beats in every column slot, as far as `o` has room."""
        current = accesses.current
        # Places of the queue not promised to beats on their way, less the two of the next pair.
        spare = Signal(range(-2, self.depth - 1), init=self.depth - 2)
        quiet = Signal(range(self.return_delay + 5))
        taken = Signal(2)
        with m.If(turns.row):
            may = Mux(current.write, quiet == 0, current.link | (spare >= 0))
            there = accesses.current_valid & accesses.current_open
            m.d.sync += [
                columns.issue.eq(there & may & ~turns.pause),
                columns.last.eq(current.left == 0),
            ]
        with m.Else():
            with m.If(columns.issue):
                m.d.sync += [
                    current.pair.eq(current.pair + 1),
                    current.left.eq(current.left - 1),
                    current.skip_first.eq(0),
                ]
                with m.If(current.write):
                    m.d.sync += accesses.link_busy.eq(0)
                with m.Elif(~current.link):
                    one = current.skip_first | (columns.last & current.skip_last)
                    m.d.comb += taken.eq(Mux(one, 1, 2))
            with m.If((columns.issue & columns.last) | ~accesses.current_valid):
                m.d.sync += accesses.current_valid.eq(0)
                with m.If(accesses.next_open):
                    m.d.sync += [
                        current.eq(accesses.next),
                        accesses.current_valid.eq(1),
                        accesses.current_open.eq(1),
                        accesses.next_valid.eq(0),
                        accesses.next_open.eq(0),
                    ]
        m.d.sync += spare.eq(spare - taken + (self.o.valid & self.o.ready))
        # Nobody drives the data pins for a cycle between the part's beats and ours.
        with m.If(columns.issue & turns.column & ~current.write):
            m.d.sync += quiet.eq(self.return_delay + 3)
        with m.Elif(quiet != 0):
            m.d.sync += quiet.eq(quiet - 1)

        with m.If(turns.column):
            m.d.sync += [
                columns.second_write.eq(columns.issue & current.write),
                columns.second_read.eq(columns.issue & ~current.write),
                columns.second_skip.eq(columns.last & current.skip_last),
                columns.second_link.eq(current.link),
            ]

    def _return(self, m: Module, turns: Turns, accesses: Accesses, columns: Columns) -> None:
        """Route beats that come back to `o` or to the link."""
        current = accesses.current
        wanted, link = Signal(), Signal()
        with m.If(turns.row):
            m.d.comb += wanted.eq(columns.second_read & ~columns.second_skip)
            m.d.comb += link.eq(columns.second_link)
        with m.Else():
            m.d.comb += wanted.eq(columns.issue & ~current.write & ~current.skip_first)
            m.d.comb += link.eq(current.link)
        m.submodules.back = back = ReadReturn(
            self.part.dq, delay=self.return_delay, depth=self.depth
        )
        m.d.comb += [
            back.wanted.eq(wanted),
            back.link.eq(link),
            back.dq_i.eq(self.pins.dq_i),
        ]
        wiring.connect(m, back.o, wiring.flipped(self.o))
        wiring.connect(m, back.word, wiring.flipped(self.bus_rsp))
        with m.If(self.bus_rsp.valid & self.bus_rsp.ready):
            m.d.sync += accesses.link_busy.eq(0)

    def _rows(
        self, m: Module, turns: Turns, accesses: Accesses, columns: Columns, rows: Rows
    ) -> None:
        """Open the rows that accesses need, refresh, initialise: one command per row slot."""
        t, part = self.timing, self.part
        m.submodules.refresh = refresh = RefreshTimer(
            interval=t.refresh_interval, postponed=self.postponed, first=part.init_refreshes
        )
        m.d.comb += refresh.idle.eq(~accesses.current_valid & ~accesses.next_valid)
        row_bits = (part.rows - 1).bit_length()
        bank, row = rows.bank, Signal(row_bits)
        opened = Signal(BANKS)
        kept = Array(Signal(row_bits, name=f"row{b}") for b in range(BANKS))
        for_current, is_open, same_row = Signal(), Signal(), Signal()

        longest = max(t.rcd, t.rp, t.rrd, t.rfc, t.mrd)
        wait = Signal(range(slots(longest) + 2))
        with m.If(turns.row & (wait != 0)):
            m.d.sync += wait.eq(wait - 1)
        # From ACTIVATE, or the last beat written, to PRECHARGE of whichever bank.
        hold = max(t.ras, t.wr + BURST - 1)
        held = Signal(range(hold + 1))
        with m.If(columns.issue & turns.column & accesses.current.write):
            m.d.sync += held.eq(hold - 1)
        with m.Elif(held != 0):
            m.d.sync += held.eq(held - 1)
        # In row slots only: a command may be given; every bank closed; `bank` closed.
        go, may_drain, may_close = Signal(), Signal(), Signal()
        bank_in_use = accesses.current_valid & (accesses.current.bank == bank)
        m.d.sync += [
            go.eq(turns.column & (wait == 0)),
            may_drain.eq(turns.column & (wait == 0) & (held == 0)),
            may_close.eq(turns.column & (wait == 0) & (held == 0) & ~bank_in_use),
        ]

        with m.FSM():
            with m.State("POWER"):
                ticks = -(-t.power_up // t.refresh_interval)
                left = Signal(range(ticks + 1), init=ticks)
                with m.If(refresh.tick):
                    m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    m.d.sync += refresh.counting.eq(1)
                    m.next = "DRAIN"
            with m.State("IDLE"):
                with m.If(refresh.due):
                    m.d.sync += [turns.pause.eq(1), accesses.next_open.eq(0)]
                    m.next = "PAUSE"
                with m.Elif(accesses.current_valid & ~accesses.current_open):
                    # Its row was closed for a refresh; so were all others.
                    m.d.sync += [
                        bank.eq(accesses.current.bank),
                        row.eq(accesses.current.row),
                        for_current.eq(1),
                    ]
                    m.next = "ACTIVATE"
                with m.Elif(accesses.next_valid & ~accesses.next_open):
                    m.d.sync += [
                        bank.eq(accesses.next.bank),
                        row.eq(accesses.next.row),
                        for_current.eq(0),
                    ]
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.d.sync += [
                    is_open.eq(opened.bit_select(bank, 1)),
                    same_row.eq(kept[bank] == row),
                ]
                m.next = "CHECK"
            with m.State("CHECK"):
                with m.If(~is_open):
                    m.next = "ACTIVATE"
                with m.Elif(same_row):
                    m.d.sync += accesses.next_open.eq(1)
                    m.next = "IDLE"
                with m.Elif(refresh.due):
                    m.next = "IDLE"
                with m.Elif(may_close):
                    m.d.comb += rows.command.eq(Command.PRECHARGE)
                    m.d.sync += [opened.bit_select(bank, 1).eq(0), wait.eq(slots(t.rp))]
                    m.next = "ACTIVATE"
            with m.State("ACTIVATE"):
                m.d.comb += rows.address.eq(row)
                with m.If(go):
                    m.d.comb += rows.command.eq(Command.ACTIVATE)
                    m.d.sync += [
                        opened.bit_select(bank, 1).eq(1),
                        kept[bank].eq(row),
                        wait.eq(max(slots(t.rrd), slots(t.rcd) - 1)),
                        held.eq(hold - 1),
                    ]
                    m.next = "OPENED"
            with m.State("OPENED"):
                # The soonest READ is three cycles behind this one.
                with m.If(go):
                    with m.If(for_current):
                        m.d.sync += accesses.current_open.eq(1)
                    with m.Else():
                        m.d.sync += accesses.next_open.eq(1)
                    m.next = "IDLE"
            with m.State("PAUSE"):
                # A READ of the cycle before must not be cut short.
                with m.If(go):
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.comb += rows.address.eq(A10)
                m.d.sync += accesses.current_open.eq(0)
                with m.If(may_drain):
                    m.d.comb += rows.command.eq(Command.PRECHARGE)
                    m.d.sync += [opened.eq(0), wait.eq(slots(t.rp))]
                    m.next = "REFRESH"
            with m.State("REFRESH"):
                with m.If(~refresh.owed):
                    with m.If(go):
                        m.d.sync += turns.pause.eq(0)
                        m.next = "MODE"
                        with m.If(self.ready):
                            m.next = "IDLE"
                with m.Elif(go):
                    m.d.comb += [rows.command.eq(Command.REFRESH), refresh.refreshed.eq(1)]
                    m.d.sync += wait.eq(slots(t.rfc))
            with m.State("MODE"):
                m.d.comb += rows.address.eq(t.cas_latency << 4 | BURST.bit_length() - 1)
                with m.If(go):
                    m.d.comb += rows.command.eq(Command.LOAD_MODE)
                    m.d.sync += wait.eq(slots(t.mrd))
                    m.next = "START"
            with m.State("START"):
                with m.If(go):
                    m.d.sync += self.ready.eq(1)
                    m.next = "IDLE"

    def _drive(
        self, m: Module, turns: Turns, accesses: Accesses, columns: Columns, rows: Rows
    ) -> None:
        """The registers of the pins."""
        pins, current, dq = self.pins, accesses.current, self.part.dq
        masks = len(pins.dqm)
        write = Signal()
        m.d.sync += [pins.cke.eq(1), pins.cs_n.eq(0), pins.dq_oe.eq(write)]
        command = Cat(pins.we_n, pins.cas_n, pins.ras_n)
        with m.If(turns.row):
            m.d.comb += write.eq(columns.second_write)
            m.d.sync += [
                command.eq(rows.command),
                pins.a.eq(rows.address),
                pins.ba.eq(rows.bank),
                pins.dq_o.eq(accesses.link_data[-dq:]),
                pins.dqm.eq((columns.second_write & columns.second_skip).replicate(masks)),
            ]
        with m.Else():
            column = Mux(current.write, Command.WRITE, Command.READ)
            m.d.comb += write.eq(columns.issue & current.write)
            m.d.sync += [
                command.eq(Mux(columns.issue, column, Command.NOP)),
                pins.a.eq(Cat(Const(0, 1), current.pair)),
                pins.ba.eq(current.bank),
                pins.dq_o.eq(accesses.link_data[:dq]),
                pins.dqm.eq((write & current.skip_first).replicate(masks)),
            ]
        with m.If(~self.ready):
            m.d.sync += pins.dqm.eq(-1)
