"""Sequencer: runs the program's body for each token, its head for each sample."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.firmware.program.isa import WORDS, Kernel, Op
from setun.hw.commands import (
    array_command,
    embed_command,
    quantise_command,
    sink_command,
    weights_command,
)
from setun.hw.seats import number

INSTRUCTION = data.StructLayout(
    {
        "op": unsigned(4),
        "flags": unsigned(12),
        "n": unsigned(16),
        "source": unsigned(16),
        "destination": unsigned(16),
        "constants": unsigned(32),
        "immediate": unsigned(32),
    }
)


class Sequencer(wiring.Component):
    """Fetches instructions and hands them to the units; straight-line, in order.

    Members
    -------
    run_body, run_head : In(1)
        Strobes, while idle: run from the start, or from behind the body's END.
    idle : Out(1)
    fault : Out(1)
        Strobe: an unknown operation was met; the run ends there.
    restart_weights : Out(1)
        Strobe at the start of a body.
    last : In
        Highest seat of the pass.
    program_address : Out, program_data : In(32)
        Program in words, data one cycle later.
    embed : Out(stream of `embed_command`)
        Copy of an embedding row, seat after seat; accepted when the copy is complete.
    token : In(16 per seat)
        Tokens whose rows are embedded.
    quantise, array, sink, weights : Out(stream)
        Commands of the units; `weights`, the words of a matvec, for their reader.
    stored : In(1)
        Strobe: a matvec is complete.
    sample_start : Out(1), sample_count : Out(16)
        Strobe with the MATVEC that samples.
    eps_outer, eps_inner : Out(fmt.width)

    A QUANTISE with `sync` and an END wait until every dispatched matvec is stored. Two cycles
    per instruction plus the waits; the next one is fetched meanwhile, which takes five.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        w = config.vector.width
        super().__init__(
            {
                "run_body": In(1),
                "run_head": In(1),
                "idle": Out(1),
                "fault": Out(1),
                "restart_weights": Out(1),
                "program_address": Out(range(WORDS * config.instructions)),
                "program_data": In(32),
                "last": In(number(config.contexts)),
                "embed": Out(stream.Signature(embed_command(config))),
                "token": In(data.ArrayLayout(16, config.contexts)),
                "quantise": Out(stream.Signature(quantise_command(config))),
                "array": Out(stream.Signature(array_command())),
                "sink": Out(stream.Signature(sink_command(config))),
                "weights": Out(stream.Signature(weights_command())),
                "stored": In(1),
                "sample_start": Out(1),
                "sample_count": Out(16),
                "eps_outer": Out(w),
                "eps_inner": Out(w),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        lane_bits, row_bits = ceil_log2(c.lanes), ceil_log2(c.rows)
        w = c.vector.width
        i = Signal(INSTRUCTION)
        counter = Signal.like(self.program_address)
        behind = Signal.like(self.program_address)  # the instruction under way
        head = Signal.like(self.program_address)
        coming = Signal(INSTRUCTION)  # the next instruction, fetched while this one waits
        part = Signal(range(WORDS + 2))
        complete = part == WORDS + 1
        in_body = Signal()
        outstanding = Signal(4)
        dispatched = Signal()
        row, multiplicand, multiplier = Signal(32), Signal(32), Signal(16)
        seat = Signal(number(c.contexts))
        following = Signal.like(seat)
        m.d.comb += following.eq(seat + 1)
        m.d.comb += [
            self.program_address.eq(counter),
            self.sample_count.eq(i.n),
            self.embed.payload.first.eq((i.constants + row) >> lane_bits),
            self.embed.payload.words.eq((i.n + (c.lanes - 1)) >> lane_bits),
            self.embed.payload.destination.eq(i.destination >> lane_bits),
            self.embed.payload.seat.eq(seat),
            self.quantise.payload.n.eq(i.n),
            self.quantise.payload.source.eq(i.source >> lane_bits),
            self.quantise.payload.constants.eq(i.constants >> lane_bits),
            self.quantise.payload.mean_square.eq(i.flags[1:3]),
            self.quantise.payload.stream.eq(i.flags[3]),
            self.quantise.payload.inverse_n.eq(i.immediate[:w]),
            self.array.payload.last.eq((i.n - 1) >> row_bits),
            self.array.payload.keep.eq(i.flags[3]),
            self.sink.payload.rows.eq(i.n),
            self.sink.payload.kernel.eq(i.flags[0:3]),
            self.sink.payload.keep.eq(i.flags[3]),
            self.sink.payload.stat_shift.eq(i.flags[5:10]),
            self.sink.payload.feeds.eq(i.flags[10]),
            self.sink.payload.source.eq(i.source >> lane_bits),
            self.sink.payload.destination.eq(i.destination >> lane_bits),
            self.sink.payload.scale.eq(i.immediate[:w]),
            self.weights.payload.eq(i.constants),
        ]
        m.d.sync += outstanding.eq(outstanding + dispatched - self.stored)
        all_free = self.array.ready & self.sink.ready & self.weights.ready & (outstanding != 15)
        quiet = outstanding == 0

        # Words come in a cycle after they are asked for, the first to the lowest bits.
        with m.If(~complete & ~self.idle):
            m.d.sync += part.eq(part + 1)
            with m.If(part != WORDS):
                m.d.sync += counter.eq(counter + 1)
            with m.If(part != 0):
                m.d.sync += coming.eq(Cat(coming.as_value()[32:], self.program_data))

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                m.d.sync += part.eq(0)
                with m.If(self.run_body):
                    m.d.comb += self.restart_weights.eq(1)
                    m.d.sync += [counter.eq(0), in_body.eq(1)]
                    m.next = "FETCH"
                with m.Elif(self.run_head):
                    m.d.sync += [counter.eq(head), in_body.eq(0)]
                    m.next = "FETCH"
            with m.State("FETCH"), m.If(complete):
                m.d.sync += [i.eq(coming), part.eq(0), behind.eq(counter)]
                m.next = "EXECUTE"
            with m.State("EXECUTE"), m.Switch(i.op):
                with m.Case(Op.MODEL):
                    m.next = "FETCH"
                with m.Case(Op.SCALARS):
                    m.d.sync += self.eps_outer.eq(i.constants[:w])
                    m.d.sync += self.eps_inner.eq(i.immediate[:w])
                    m.next = "FETCH"
                with m.Case(Op.EMBED):
                    m.d.sync += [seat.eq(0), row.eq(0), multiplicand.eq(i.immediate)]
                    m.d.sync += multiplier.eq(self.token[0])
                    m.next = "ROW"
                with m.Case(Op.QUANTISE):
                    m.d.comb += self.quantise.valid.eq(quiet | ~i.flags[0])
                    with m.If(self.quantise.valid & self.quantise.ready):
                        m.next = "FETCH"
                with m.Case(Op.MATVEC):
                    m.d.comb += [
                        dispatched.eq(all_free),
                        self.array.valid.eq(all_free),
                        self.sink.valid.eq(all_free),
                        self.weights.valid.eq(all_free),
                        self.sample_start.eq(all_free & (i.flags[0:3] == Kernel.SAMPLE)),
                    ]
                    with m.If(all_free):
                        m.next = "FETCH"
                with m.Case(Op.END):
                    with m.If(quiet):
                        with m.If(in_body):
                            m.d.sync += head.eq(behind)
                        m.next = "IDLE"
                with m.Default():
                    m.d.comb += self.fault.eq(1)
                    m.next = "IDLE"
            # row = token * pairs a row, one bit a cycle: no multiplier for one product.
            with m.State("ROW"):
                m.d.sync += [
                    row.eq(row + Mux(multiplier[0], multiplicand, 0)),
                    multiplicand.eq(multiplicand << 1),
                    multiplier.eq(multiplier >> 1),
                ]
                with m.If(multiplier == 0):
                    m.next = "COPY"
            with m.State("COPY"):
                m.d.comb += self.embed.valid.eq(1)
                with m.If(self.embed.ready):
                    m.d.sync += [seat.eq(following), row.eq(0), multiplicand.eq(i.immediate)]
                    m.d.sync += multiplier.eq(self.token[following])
                    m.next = "ROW"
                    with m.If(seat == self.last):
                        m.next = "FETCH"
        return m
