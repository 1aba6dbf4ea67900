"""Sequencer: runs the program's body for each token, its head for each sample."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.firmware.program.isa import PLACES, Op
from setun.firmware.program.kernels import Port
from setun.firmware.program.registry import Registry
from setun.hw.commands import (
    array_command,
    attention_command,
    embed_command,
    quantise_command,
    sink_command,
    weights_command,
)
from setun.hw.instruction import among, layout, shape, unknown, words
from setun.hw.seats import number

OUTSTANDING = 15  # matvecs that are dispatched and not stored yet


@dataclass(frozen=True)
class _Work:
    """What the sequencer keeps while it runs."""

    i: Any  # of `layout`: the instruction that is executed
    in_body: Signal
    outstanding: Signal  # matvecs that are not stored yet
    dispatched: Signal
    seat: Signal  # whose row is embedded
    row: Signal  # token * what lies between rows, so far
    multiplicand: Signal
    multiplier: Signal


EXECUTES: Registry[Op, Callable[["Sequencer", Module, _Work], None]] = Registry("the sequencer")
"""Statements of the state in which an operation is executed."""


class Sequencer(wiring.Component):
    """Hands instructions to the units; straight-line, in order.

    Members
    -------
    run_body, run_head : In(1)
        Strobes, while idle: run from the start, or from behind the body's END.
    idle : Out(1)
    fault : Out(1)
        Strobe: an unknown operation, kernel or mean square was met; the run ends there.
    restart_weights : Out(1)
        Strobe at the start of a body.
    last : In
        Highest seat of the pass.
    instructions : In(stream of `setun.hw.instruction.layout`)
        In order of execution.
    body_ended : Out(1)
        Strobe: the body's END is executed.
    broken : In(1), gains_ready, gates_ready : In(1), gains_begun, gates_begun : Out(1)
        Of a streamed model alone: nothing more comes, which ends the run with a fault; the next
        block of numbers is there; strobes, a command that reads it is handed out.
    embed : Out(stream of `embed_command`)
        Copy of an embedding row, seat after seat; accepted when the copy is complete.
    token : In(token_bits per seat)
        Tokens whose rows are embedded.
    quantise, array, sink, weights : Out(stream)
        Commands of the units; `weights`, the words of a matvec, for their reader.
    attention : Out(stream of `attention_command`)
        Of a chip with that unit alone; accepted when the command is done.
    gains_freed : Out(1)
        Of a streamed model on a chip that norms heads alone. Strobe: a NORM's gains have been read.
    stored : In(1)
        Strobe: a matvec is complete.
    sample_start : Out(1), sample_count : Out
        Strobe with the MATVEC that samples.
    eps_outer, eps_inner : Out(fmt.width)

    A QUANTISE with `sync` and an END wait until every dispatched matvec is stored. Two cycles
    per instruction plus the waits.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        w = config.vector.width
        blocks = {"gains_ready": In(1), "gates_ready": In(1), "broken": In(1)}
        blocks |= {"gains_begun": Out(1), "gates_begun": Out(1)}
        attention = {"attention": Out(stream.Signature(attention_command(config)))}
        norms = {"gains_freed": Out(1)} if config.streams else {}
        super().__init__(
            {
                **(blocks if config.streams else {}),
                **(attention if config.attention else {}),
                **(norms if config.core.has(Op.NORM) else {}),
                "run_body": In(1),
                "run_head": In(1),
                "idle": Out(1),
                "fault": Out(1),
                "restart_weights": Out(1),
                "instructions": In(stream.Signature(layout(config))),
                "body_ended": Out(1),
                "last": In(number(config.contexts)),
                "embed": Out(stream.Signature(embed_command(config))),
                "token": In(data.ArrayLayout(config.token_bits, config.contexts)),
                "quantise": Out(stream.Signature(quantise_command(config))),
                "array": Out(stream.Signature(array_command(config))),
                "sink": Out(stream.Signature(sink_command(config))),
                "weights": Out(stream.Signature(weights_command())),
                "stored": In(1),
                "sample_start": Out(1),
                "sample_count": Out(shape(config, "n")),
                "eps_outer": Out(w),
                "eps_inner": Out(w),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        i = Signal(layout(self.config))
        work = _Work(
            i=i,
            in_body=Signal(name="in_body"),
            outstanding=Signal(range(OUTSTANDING + 1), name="outstanding"),
            dispatched=Signal(name="dispatched"),
            seat=Signal(number(c.contexts), name="seat"),
            row=Signal(PLACES["constants"].bits, name="row"),
            multiplicand=Signal(PLACES["immediate"].bits, name="multiplicand"),
            multiplier=Signal(c.token_bits, name="multiplier"),
        )
        following = Signal.like(work.seat)
        m.d.comb += following.eq(work.seat + 1)
        self._commands(m, work)
        m.d.sync += work.outstanding.eq(work.outstanding + work.dispatched - self.stored)

        coming = self.instructions.payload
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                with m.If(self.run_body):
                    m.d.comb += self.restart_weights.eq(1)
                    m.d.sync += work.in_body.eq(1)
                    m.next = "FETCH"
                with m.Elif(self.run_head):
                    m.d.sync += work.in_body.eq(0)
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += self.instructions.ready.eq(1)
                with m.If(self.instructions.valid):
                    m.d.sync += i.eq(coming)
                    m.next = "EXECUTE"
                    with m.If(unknown(self.config.core, coming.op, coming)):
                        m.next = "FAULT"
                self._break_off(m)
            with m.State("EXECUTE"):
                with m.Switch(i.op):
                    for op in self.config.core.operations:
                        with m.Case(op):
                            EXECUTES[op](self, m, work)
                self._break_off(m)
            with m.State("FAULT"):
                m.d.comb += self.fault.eq(1)
                m.next = "IDLE"
            # row = token * distance of rows, one bit a cycle: no multiplier for one product.
            with m.State("ROW"):
                m.d.sync += [
                    work.row.eq(work.row + Mux(work.multiplier[0], work.multiplicand, 0)),
                    work.multiplicand.eq(work.multiplicand << 1),
                    work.multiplier.eq(work.multiplier >> 1),
                ]
                with m.If(work.multiplier == 0):
                    m.next = "COPY"
                self._break_off(m)
            with m.State("COPY"):
                m.d.comb += self.embed.valid.eq(1)
                with m.If(self.embed.ready):
                    m.d.sync += [work.seat.eq(following), work.row.eq(0)]
                    m.d.sync += work.multiplicand.eq(i.immediate)
                    m.d.sync += work.multiplier.eq(self.token[following])
                    m.next = "ROW"
                    with m.If(work.seat == self.last):
                        m.next = "FETCH"
                self._break_off(m)
        return m

    def _break_off(self, m: Module) -> None:
        """What is waited for does not come any more."""
        if self.config.streams:
            with m.If(self.broken):
                m.next = "FAULT"

    def _commands(self, m: Module, work: _Work) -> None:
        """Payloads of all commands, which are valid in their operation's state."""
        c, i = self.config, work.i
        lane_bits, row_bits = ceil_log2(c.lanes), ceil_log2(c.rows)
        w = c.vector.width
        first = i.constants + work.row  # a beat of the external memory, or a pair
        if c.streams:
            m.d.comb += [
                self.embed.payload.beats.eq(i.immediate),
                self.sink.payload.gates.eq(i.block >> lane_bits),
            ]
        else:
            first = first >> lane_bits
        if c.five_trits:
            planes = i.planes
            m.d.comb += [self.array.payload.planes.eq(planes), self.sink.payload.planes.eq(planes)]
        if c.attention:
            self._attention(m, i)
        m.d.comb += [
            self.sample_count.eq(i.n),
            self.embed.payload.first.eq(first),
            self.embed.payload.words.eq((i.n + (c.lanes - 1)) >> lane_bits),
            self.embed.payload.destination.eq(words(c, i, "dst")),
            self.embed.payload.seat.eq(work.seat),
            self.quantise.payload.n.eq(i.n),
            self.quantise.payload.source.eq(words(c, i, "src")),
            self.quantise.payload.constants.eq(i.constants >> lane_bits),
            self.quantise.payload.mean_square.eq(i.mean_square),
            self.quantise.payload.stream.eq(i.stream),
            self.quantise.payload.inverse_n.eq(i.immediate[:w]),
            self.array.payload.last.eq((i.n - 1) >> row_bits),
            self.array.payload.keep.eq(i.keep),
            self.sink.payload.rows.eq(i.n),
            self.sink.payload.kernel.eq(i.kernel),
            self.sink.payload.keep.eq(i.keep),
            self.sink.payload.stat_shift.eq(i.stat_shift),
            self.sink.payload.feeds.eq(i.feeds),
            self.sink.payload.source.eq(words(c, i, "src")),
            self.sink.payload.destination.eq(words(c, i, "dst")),
            self.sink.payload.scale.eq(i.immediate[:w]),
            self.weights.payload.eq(i.block),
        ]

    def _attention(self, m: Module, i: Any) -> None:
        """Heads by vector words and cache words."""
        c, command = self.config, self.attention.payload
        lane_bits, code_bits = ceil_log2(c.lanes), ceil_log2(c.attention)
        m.d.comb += [
            command.op.eq(i.op),
            command.words.eq(i.n >> lane_bits),
            command.source.eq(words(c, i, "src")),
            command.head.eq(i.block >> lane_bits),
            command.parts.eq(i.block >> code_bits),
            command.group.eq(i.group),
            command.of_values.eq(i.of_values),
            command.keys.eq(i.immediate >> code_bits),
            command.values.eq((i.immediate + i.apart) >> code_bits),
            command.constants.eq(i.immediate >> lane_bits),
        ]


@EXECUTES(Op.MODEL)
def _model(sequencer: Sequencer, m: Module, work: _Work) -> None:
    m.next = "FETCH"


@EXECUTES(Op.SCALARS)
def _scalars(sequencer: Sequencer, m: Module, work: _Work) -> None:
    w = sequencer.config.vector.width
    m.d.sync += sequencer.eps_outer.eq(work.i.constants[:w])
    m.d.sync += sequencer.eps_inner.eq(work.i.immediate[:w])
    m.next = "FETCH"


@EXECUTES(Op.EMBED)
def _embed(sequencer: Sequencer, m: Module, work: _Work) -> None:
    m.d.sync += [work.seat.eq(0), work.row.eq(0), work.multiplicand.eq(work.i.immediate)]
    m.d.sync += work.multiplier.eq(sequencer.token[0])
    m.next = "ROW"


@EXECUTES(Op.QUANTISE)
def _quantise(sequencer: Sequencer, m: Module, work: _Work) -> None:
    command = sequencer.quantise
    may = (work.outstanding == 0) | ~work.i.sync
    if sequencer.config.streams:
        may = may & sequencer.gains_ready
        m.d.comb += sequencer.gains_begun.eq(command.valid & command.ready)
    m.d.comb += command.valid.eq(may)
    with m.If(command.valid & command.ready):
        m.next = "FETCH"


@EXECUTES(Op.MATVEC)
def _matvec(sequencer: Sequencer, m: Module, work: _Work) -> None:
    commands = sequencer.array, sequencer.sink, sequencer.weights
    free, block = Signal(name="all_free"), Signal(name="block_ready", init=1)
    if sequencer.config.streams:
        gated = among(work.i.kernel, lambda k: Port.GATES in k.reads)
        m.d.comb += [
            block.eq(~gated | sequencer.gates_ready),
            sequencer.gates_begun.eq(free & gated),
        ]
    m.d.comb += [
        free.eq(
            Cat(each.ready for each in commands).all() & (work.outstanding != OUTSTANDING) & block
        ),
        work.dispatched.eq(free),
        *(each.valid.eq(free) for each in commands),
        sequencer.sample_start.eq(free & among(work.i.kernel, lambda k: k.samples)),
    ]
    with m.If(free):
        m.next = "FETCH"


@EXECUTES(Op.END)
def _end(sequencer: Sequencer, m: Module, work: _Work) -> None:
    with m.If(work.outstanding == 0):
        m.d.comb += sequencer.body_ended.eq(work.in_body)
        m.next = "IDLE"


def _attend(sequencer: Sequencer, m: Module, work: _Work) -> None:
    """Alone: what is under way is stored first, and what comes waits until it is done."""
    command = sequencer.attention
    m.d.comb += command.valid.eq(work.outstanding == 0)
    with m.If(command.valid & command.ready):
        m.next = "FETCH"


for _op in (Op.ROTATE, Op.CACHE, Op.ATTEND):
    EXECUTES[_op] = _attend


@EXECUTES(Op.NORM)
def _norm(sequencer: Sequencer, m: Module, work: _Work) -> None:
    command = sequencer.attention
    may = work.outstanding == 0
    if sequencer.config.streams:
        may = may & sequencer.gains_ready
        done = command.valid & command.ready
        m.d.comb += [sequencer.gains_begun.eq(done), sequencer.gains_freed.eq(done)]
    m.d.comb += command.valid.eq(may)
    with m.If(command.valid & command.ready):
        m.next = "FETCH"
