"""Ternary array: P activations times Q rows of weights in {-1, 0, 1} per cycle."""

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import SLOTS, ChipConfig
from setun.hw.dot import DotRow, Technology, add_masked
from setun.hw.pipeline import delayed
from setun.hw.seats import number

GROUPS = 16  # row groups between issue and sink: what comes while the first scale is computed

MATVEC = data.StructLayout({"groups": unsigned(16), "keep": unsigned(1)})


class TernaryArray(wiring.Component):
    """Executes matvecs: weights times the oldest slot of codes, Q rows at a time.

    A matvec goes panel by panel of `config.panel` row groups, and through a panel block by block
    of P columns: a block of codes serves all groups of the panel, whose partial sums wait in a
    small memory. So the array starts on a vector's first codes while the last are being made.

    A matvec is done for every seat of the pass: for one seat after the other, or, where seats
    share the weights, for all seats with each weight word.

    Members
    -------
    command : In(stream of groups, keep)
        A matvec of `groups` x Q rows; `keep` leaves the slot for the next one.
    last : In
        Highest seat of the pass.
    filled : In(stream of words)
        Slots in order: words (P codes) of the next one, the same for every seat. Taken by the
        last matvec on it.
    written : In(1)
        Strobe: the next word of the slots, in order, seat by seat, may be read in the next cycle.
    code_slot, code_seat, code_address : Out, code_data : In(8 * P)
        Read port of the slot memory, data one cycle later.
    weights : In(stream of 2 * P * Q bits)
        (nonzero, negative) bit pairs in execution order; a matvec's words again for every seat,
        unless seats share them.
    o : Out(stream of Q signed accumulators)
        Row groups, exact sums, in the order of `setun.hw.seats.walk`.
    busy, wait_codes, wait_sink, wait_weights : Out(1)
        What the array does this cycle, for counters: at most one is high, none when idle.

    Of `config` and `technology`, the cells that `DotRow` is made of; the sums are the same.

    One word of one seat per cycle unless one of the waits holds it. Latency from the last word of a
    row group to `o`: `DotRow.latency` + 2 cycles.
    """

    def __init__(self, config: ChipConfig, technology: Technology = "generic") -> None:
        self.config, self.technology = config, technology
        p, q = config.columns, config.rows
        self.sum_width = 8 + ceil_log2(config.max_columns)
        self.groups = data.ArrayLayout(signed(self.sum_width), q)
        super().__init__(
            {
                "command": In(stream.Signature(MATVEC)),
                "last": In(number(config.contexts)),
                "filled": In(stream.Signature(range(config.slot_words + 1))),
                "written": In(1),
                "code_slot": Out(range(SLOTS)),
                "code_seat": Out(number(config.contexts)),
                "code_address": Out(range(max(config.slot_words, 2))),
                "code_data": In(8 * p),
                "weights": In(stream.Signature(2 * p * q)),
                "o": Out(stream.Signature(self.groups)),
                "busy": Out(1),
                "wait_codes": Out(1),
                "wait_sink": Out(1),
                "wait_weights": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        block, seat = self.code_address, self.code_seat
        group = Signal(range(max(c.panel, 2)))  # of the panel
        left = Signal(16)  # groups behind this panel's start; 0 before a seat's first word
        remaining, groups = Signal(16), Signal(16)
        credit = Signal(range(GROUPS + 1), init=GROUPS)
        kept = Signal()  # the matvec before has read every word of the slot
        # Words of the slots written and not yet read for the first time.
        words = Signal(range(SLOTS * c.contexts * c.slot_words + 1))

        opening, first, last, issue = Signal(), Signal(), Signal(), Signal()
        final, turn = Signal(), Signal()  # the last seat; the last use of this weight word
        end_of_block, end_of_panel, done = Signal(), Signal(), Signal()
        active = self.command.valid
        # Seats that share a weight word need a block's codes together, and they are written seat
        # by seat: those of all seats but the last come before the last seat's first.
        lead = self._lead(m)
        present = self.filled.valid & (~opening | (words > lead))
        room = ~last | (credit != 0)
        m.d.comb += [
            remaining.eq(Mux(left == 0, self.command.payload.groups, left)),
            groups.eq(Mux(remaining < c.panel, remaining, c.panel)),
            opening.eq((group == 0) & (left == 0) & ~kept),
            first.eq(block == 0),
            last.eq(block + 1 == self.filled.payload),
            final.eq(seat == self.last),
            self.wait_codes.eq(active & ~present),
            self.wait_sink.eq(active & present & ~room),
            self.wait_weights.eq(active & present & room & ~self.weights.valid),
            issue.eq(active & present & room & self.weights.valid),
            self.busy.eq(issue),
            turn.eq(issue & (final | (not c.shares_weights))),
            self.weights.ready.eq(turn),
            end_of_block.eq(turn & (group + 1 == groups)),
            end_of_panel.eq(end_of_block & last),
            done.eq(end_of_panel & (remaining == groups)),
            self.command.ready.eq(done & final),
            self.filled.ready.eq(self.command.ready & ~self.command.payload.keep),
        ]
        with m.If(turn):
            m.d.sync += group.eq(Mux(end_of_block, 0, group + 1))
        with m.If(end_of_block):
            m.d.sync += block.eq(Mux(last, 0, block + 1))
        with m.If(end_of_panel):
            m.d.sync += left.eq(remaining - groups)
        with m.If(issue if c.shares_weights else done):
            m.d.sync += seat.eq(Mux(final, 0, seat + 1))
        with m.If(self.command.ready):
            m.d.sync += kept.eq(self.command.payload.keep)
        with m.If(self.filled.ready):
            m.d.sync += self.code_slot.eq(Mux(self.code_slot == SLOTS - 1, 0, self.code_slot + 1))
        read = Signal.like(words)
        with m.If(opening & turn):
            m.d.comb += read.eq(Mux(last, lead, 0) + 1)
        m.d.sync += words.eq(words + self.written - read)

        taken = self.o.valid & self.o.ready
        m.d.sync += credit.eq(credit - (issue & last) + taken)
        place = Cat(group, seat) if c.shares_weights and c.contexts > 1 else group
        self._accumulate(m, issue, place, first, last)
        return m

    def _lead(self, m: Module) -> Value:
        """Words that are written before the first one of the last seat, if seats share weights."""
        if not self.config.shares_weights or self.config.contexts == 1:
            return C(0)
        words = self.filled.payload
        lead = Signal(len(words) + 2)
        m.d.sync += lead.eq(sum(Mux(bit, words << k, 0) for k, bit in enumerate(self.last)))
        return lead

    def _accumulate(self, m: Module, issue: Value, place: Value, first: Value, last: Value) -> None:
        """Dot products of the issued words, added up at `place`, into the FIFO."""
        p, q = self.config.columns, self.config.rows
        weights = Signal(2 * p * q, reset_less=True)
        m.d.sync += weights.eq(self.weights.payload)
        # Codes arrive with the registered weights, one cycle after the issue.
        rows = [DotRow(p, self.technology) for _ in range(q)]
        stages = rows[0].latency + 1
        flags = delayed(m, Cat(issue, first, last), stages, "flags", reset=True)
        target = delayed(m, place, stages, "target")

        # Read, added and written in one cycle, so a group may follow itself.
        m.submodules.sums = sums = memory.Memory(
            shape=self.sum_width * q, depth=1 << len(place), init=[]
        )
        read, write = sums.read_port(domain="comb"), sums.write_port()
        before = data.View(self.groups, read.data)
        total = Signal(self.groups)
        for k, row in enumerate(rows):
            m.submodules[f"row{k}"] = row
            product = Signal(signed(self.sum_width), name=f"product{k}")
            m.d.comb += [
                row.codes.eq(self.code_data),
                row.weights.eq(weights[2 * p * k : 2 * p * (k + 1)]),
                product.eq(row.o),
                # The adder's mask leaves out what a panel before has left behind.
                total[k].eq(
                    add_masked(
                        m, product, before[k], Cat(~flags[1], C(0, 1)), C(0, 2),
                        self.technology, f"total{k}",
                    )
                ),
            ]  # fmt: skip
        m.submodules.out = out = fifo.SyncFIFO(width=self.sum_width * q, depth=GROUPS)
        m.d.comb += [
            read.addr.eq(target),
            write.addr.eq(target),
            write.en.eq(flags[0]),
            write.data.eq(total),
            out.w_data.eq(total),
            out.w_en.eq(flags[0] & flags[2]),
            self.o.payload.eq(out.r_data),
            self.o.valid.eq(out.r_rdy),
            out.r_en.eq(self.o.ready),
        ]
