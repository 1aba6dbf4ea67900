"""Ternary array: P activations times Q rows of weights in {-1, 0, 1} per cycle."""

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import SLOTS, ChipConfig

GROUPS = 8  # row groups between issue and sink: covers the array's latency at two words a row


class DotRow(wiring.Component):
    """One row's dot product of int8 codes with ternary weights, one set per cycle.

    A weight is two bits, (nonzero, negative). -x is ~x + 1: the leaves complement, and every +1
    enters the adder tree as a carry, so negation costs no adder of its own.

    Members
    -------
    codes : In(8 * columns), weights : In(2 * columns)
        Column 0 in the lowest bits.
    o : Out(signed(8 + log2 columns))
        The sum, at most 127 * columns in magnitude.

    Latency `latency` cycles (a register behind every second adder), throughput one per cycle.
    """

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.levels = ceil_log2(columns)
        super().__init__(
            {
                "codes": In(8 * columns),
                "weights": In(2 * columns),
                "o": Out(signed(8 + self.levels)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from operands to sum."""
        return (self.levels + 1) // 2 + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        terms: list[Value] = []
        carries: list[Value] = []
        for k in range(self.columns):
            nonzero, negative = self.weights[2 * k], self.weights[2 * k + 1]
            x = self.codes.word_select(k, 8)
            terms.append(((x ^ negative.replicate(8)) & nonzero.replicate(8)).as_signed())
            carries.append(nonzero & negative)
        for level in range(self.levels):
            sums: list[Value] = []
            for a, b in zip(terms[::2], terms[1::2], strict=True):
                # An adder with a carry input is one carry chain, one bit longer.
                total = Signal(signed(10 + level), name=f"l{level}_total{len(sums)}")
                carry = carries.pop()
                m.d.comb += total.eq(Cat(C(1, 1), a).as_signed() + Cat(carry, b).as_signed())
                sums.append(total[1:].as_signed())
            if level % 2 == 0:
                terms = [self._register(m, s, f"l{level}_sum{k}") for k, s in enumerate(sums)]
                carries = [self._register(m, c, f"l{level}_one{k}") for k, c in enumerate(carries)]
            else:
                terms = sums
        # A tree of n leaves has n - 1 adders: the last +1 is added here.
        m.d.sync += self.o.eq(terms[0] + Cat(carries[0], C(0, 1)).as_signed())
        return m

    @staticmethod
    def _register(m: Module, value: Value, name: str) -> Value:
        held = Signal(value.shape(), name=name, reset_less=True)
        m.d.sync += held.eq(value)
        return held


MATVEC = data.StructLayout({"groups": unsigned(16), "keep": unsigned(1)})


class TernaryArray(wiring.Component):
    """Executes matvecs: weights times the oldest slot of codes, Q rows at a time.

    Members
    -------
    command : In(stream of groups, keep)
        A matvec of `groups` x Q rows; `keep` leaves the slot for the next one.
    filled : In(stream of words)
        Quantised slots in order: words (P codes) of the next one. Taken by the last matvec on it.
    code_slot : Out, code_address : Out, code_data : In(8 * P)
        Read port of the slot memory, data one cycle later.
    weights : In(stream of 2 * P * Q bits)
        (nonzero, negative) bit pairs in execution order.
    o : Out(stream of Q signed accumulators)
        Row groups, exact sums.
    busy, wait_codes, wait_sink, wait_weights : Out(1)
        What the array does this cycle, for counters: at most one is high, none when idle.

    One weight word per cycle unless one of the waits holds it. Latency from the last word of a
    row group to `o`: `DotRow.latency` + 3 cycles.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        p, q = config.columns, config.rows
        self.sum_width = 8 + ceil_log2(config.max_columns)
        self.groups = data.ArrayLayout(signed(self.sum_width), q)
        super().__init__(
            {
                "command": In(stream.Signature(MATVEC)),
                "filled": In(stream.Signature(range(config.slot_words + 1))),
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
        p, q = self.config.columns, self.config.rows
        word = Signal.like(self.code_address)
        group = Signal(16)
        credit = Signal(range(GROUPS + 1), init=GROUPS)

        first, last = Signal(), Signal()
        issue = Signal()
        active = self.command.valid
        m.d.comb += [
            first.eq(word == 0),
            last.eq(word + 1 == self.filled.payload),
            self.wait_codes.eq(active & ~self.filled.valid),
            self.wait_sink.eq(active & self.filled.valid & (credit == 0)),
            self.wait_weights.eq(active & self.filled.valid & (credit != 0) & ~self.weights.valid),
            issue.eq(active & self.filled.valid & (credit != 0) & self.weights.valid),
            self.busy.eq(issue),
            self.weights.ready.eq(issue),
            self.code_address.eq(word),
        ]
        done = Signal()
        m.d.comb += [
            done.eq(issue & last & (group + 1 == self.command.payload.groups)),
            self.command.ready.eq(done),
            self.filled.ready.eq(done & ~self.command.payload.keep),
        ]
        with m.If(issue):
            m.d.sync += word.eq(Mux(last, 0, word + 1))
            with m.If(last):
                m.d.sync += group.eq(Mux(done, 0, group + 1))
        with m.If(self.filled.ready):
            m.d.sync += self.code_slot.eq(Mux(self.code_slot == SLOTS - 1, 0, self.code_slot + 1))

        m.submodules.out = out = fifo.SyncFIFOBuffered(width=self.sum_width * q, depth=GROUPS)
        taken = self.o.valid & self.o.ready
        m.d.comb += [
            self.o.payload.eq(out.r_data),
            self.o.valid.eq(out.r_rdy),
            out.r_en.eq(self.o.ready),
        ]
        m.d.sync += credit.eq(credit - (issue & last) + taken)

        weights = Signal(2 * p * q, reset_less=True)
        m.d.sync += weights.eq(self.weights.payload)
        # Codes arrive with the registered weights, one cycle after the issue.
        rows = [DotRow(p) for _ in range(q)]
        flags: Value = Cat(issue, first, last)
        for k in range(rows[0].latency + 1):
            stage = Signal(3, name=f"flags{k}")
            m.d.sync += stage.eq(flags)
            flags = stage
        valid, starts, ends = flags[0], flags[1], flags[2]
        sums = []
        for k, row in enumerate(rows):
            m.submodules[f"row{k}"] = row
            total = Signal(signed(self.sum_width), name=f"sum{k}", reset_less=True)
            m.d.comb += [
                row.codes.eq(self.code_data),
                row.weights.eq(weights[2 * p * k : 2 * p * (k + 1)]),
            ]
            with m.If(valid):
                m.d.sync += total.eq(Mux(starts, 0, total) + row.o)
            sums.append(total)
        m.d.sync += out.w_en.eq(valid & ends)
        m.d.comb += out.w_data.eq(Cat(*sums))
        return m
