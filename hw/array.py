"""Ternary array: P activations times Q rows of weights in {-1, 0, 1} per cycle."""

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import SLOTS, ChipConfig
from setun.hw.dot import DotRow, Technology, add_masked
from setun.hw.pipeline import delayed

GROUPS = 16  # row groups between issue and sink: what comes while the first scale is computed

MATVEC = data.StructLayout({"groups": unsigned(16), "keep": unsigned(1)})


class TernaryArray(wiring.Component):
    """Executes matvecs: weights times the oldest slot of codes, Q rows at a time.

    A matvec goes panel by panel of `config.panel` row groups, and through a panel block by block
    of P columns: a block of codes serves all groups of the panel, whose partial sums wait in a
    small memory. So the array starts on a vector's first codes while the last are being made.

    Members
    -------
    command : In(stream of groups, keep)
        A matvec of `groups` x Q rows; `keep` leaves the slot for the next one.
    filled : In(stream of words)
        Slots in order: words (P codes) of the next one. Taken by the last matvec on it.
    written : In(1)
        Strobe: the next word of the slots, in order, may be read in the next cycle.
    code_slot : Out, code_address : Out, code_data : In(8 * P)
        Read port of the slot memory, data one cycle later.
    weights : In(stream of 2 * P * Q bits)
        (nonzero, negative) bit pairs in execution order.
    o : Out(stream of Q signed accumulators)
        Row groups, exact sums.
    busy, wait_codes, wait_sink, wait_weights : Out(1)
        What the array does this cycle, for counters: at most one is high, none when idle.

    Of `config` and `technology`, the cells that `DotRow` is made of; the sums are the same.

    One weight word per cycle unless one of the waits holds it. Latency from the last word of a
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
                "filled": In(stream.Signature(range(config.slot_words + 1))),
                "written": In(1),
                "code_slot": Out(range(SLOTS)),
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
        block = self.code_address
        group = Signal(range(max(c.panel, 2)))  # of the panel
        left = Signal(16)  # groups behind this panel's start; 0 before a command's first word
        remaining, groups = Signal(16), Signal(16)
        credit = Signal(range(GROUPS + 1), init=GROUPS)
        seen = Signal()  # every word of the slot has been read once
        words = Signal(range(SLOTS * c.slot_words + 1))  # written and not yet read

        opening, first, last, issue = Signal(), Signal(), Signal(), Signal()
        end_of_block, end_of_panel, done = Signal(), Signal(), Signal()
        active = self.command.valid
        present = self.filled.valid & (~opening | (words != 0))
        room = ~last | (credit != 0)
        m.d.comb += [
            remaining.eq(Mux(left == 0, self.command.payload.groups, left)),
            groups.eq(Mux(remaining < c.panel, remaining, c.panel)),
            opening.eq((group == 0) & ~seen),
            first.eq(block == 0),
            last.eq(block + 1 == self.filled.payload),
            self.wait_codes.eq(active & ~present),
            self.wait_sink.eq(active & present & ~room),
            self.wait_weights.eq(active & present & room & ~self.weights.valid),
            issue.eq(active & present & room & self.weights.valid),
            self.busy.eq(issue),
            self.weights.ready.eq(issue),
            end_of_block.eq(issue & (group + 1 == groups)),
            end_of_panel.eq(end_of_block & last),
            done.eq(end_of_panel & (remaining == groups)),
            self.command.ready.eq(done),
            self.filled.ready.eq(done & ~self.command.payload.keep),
        ]
        with m.If(issue):
            m.d.sync += group.eq(Mux(end_of_block, 0, group + 1))
        with m.If(end_of_block):
            m.d.sync += block.eq(Mux(last, 0, block + 1))
        with m.If(end_of_panel):
            m.d.sync += left.eq(remaining - groups)
        with m.If(self.filled.ready):
            m.d.sync += self.code_slot.eq(Mux(self.code_slot == SLOTS - 1, 0, self.code_slot + 1))
            m.d.sync += seen.eq(0)
        with m.Elif(end_of_panel):
            m.d.sync += seen.eq(1)
        m.d.sync += words.eq(words + self.written - (issue & opening))

        taken = self.o.valid & self.o.ready
        m.d.sync += credit.eq(credit - (issue & last) + taken)
        self._accumulate(m, issue, group, first, last)
        return m

    def _accumulate(self, m: Module, issue: Value, group: Value, first: Value, last: Value) -> None:
        """Dot products of the issued words, added up per group of the panel, into the FIFO."""
        p, q = self.config.columns, self.config.rows
        weights = Signal(2 * p * q, reset_less=True)
        m.d.sync += weights.eq(self.weights.payload)
        # Codes arrive with the registered weights, one cycle after the issue.
        rows = [DotRow(p, self.technology) for _ in range(q)]
        stages = rows[0].latency + 1
        flags = delayed(m, Cat(issue, first, last), stages, "flags", reset=True)
        target = delayed(m, group, stages, "target")

        # Read, added and written in one cycle, so a group may follow itself.
        m.submodules.sums = sums = memory.Memory(
            shape=self.sum_width * q, depth=self.config.panel, init=[]
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
