"""Control of the small core: instructions from program memory, words of the microprogram."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.firmware.core_kinds import SMALL
from setun.firmware.numerics.functions import Ints
from setun.firmware.program.isa import PLACES, WORDS, Op
from setun.firmware.program.registry import Registry
from setun.hw.arith.bits import rom
from setun.hw.instruction import among, layout, shape, unknown
from setun.hw.small import microcode
from setun.hw.small.addresses import first_gate
from setun.hw.small.microcode import KERNEL_BITS, WORD, microprogram
from setun.hw.small.words import Next


def pointer(config: ChipConfig) -> range:
    """Elements of vector memory and state."""
    return range(max(config.vector_elements, config.state_elements, config.max_columns) + 1)


CONSTANTS, IMMEDIATE = PLACES["constants"].word, PLACES["immediate"].word
# The immediate stays on the program's port while an instruction runs: its word is read last.
ORDER = [*(word for word in range(WORDS) if word != IMMEDIATE), IMMEDIATE]


@dataclass(frozen=True)
class _Now:
    """The instruction under way, and where the run is."""

    op: Signal
    kernel: Signal
    mean_square: Signal
    count: Signal  # elements or rows
    tokens: Signal  # rows of the embedding that are still passed by
    in_body: Signal
    counter: Signal
    head: Signal


DECODES: Registry[Op, Callable[["Control", Module, _Now], None]] = Registry("the small core")
"""Statements of the state in which an operation is decoded."""


class Control(wiring.Component):
    """Runs the body for a token or the head for a sample, an instruction after the other.

    Members
    -------
    run_body, run_head : In(1)
        Strobes, while idle: from the start, or from behind the body's END.
    idle : Out(1), fault : Out(1)
        The latter is a strobe: an unknown operation, kernel or mean square was met, and the run
        ends.
    token : In(16)
        Whose row is embedded.
    program_address : Out, program : In(32)
        Words of the program, one cycle later.
    word : Out
        The microprogram's word of this cycle, all zero for none.
    group : Out(1)
        Strobe: the array begins with the next rows. It starts at the model's first ones after
        `restart`.
    restart : Out(1)
    array_busy : In(1)
    row : Out
        Of the group.
    element : Out, following : Out(1)
        Number of the element that the word is about; with `following` reads are of the next one.
    columns, source, destination, base, shift, mean_square : Out
        Of the instruction; `base` is the first constant.
    sampling : Out(1)
        The matvec's rows are logits.
    sampled : Out(1)
        Strobe behind the last one.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        place = pointer(config)
        super().__init__(
            {
                "run_body": In(1),
                "run_head": In(1),
                "idle": Out(1),
                "fault": Out(1),
                "token": In(place),
                "program_address": Out(range(WORDS * config.instructions)),
                "program": In(32),
                "word": Out(WORD),
                "group": Out(1),
                "restart": Out(1),
                "array_busy": In(1),
                "row": Out(range(config.rows)),
                "element": Out(place),
                "following": Out(1),
                "columns": Out(range(config.max_columns + 1)),
                "source": Out(place),
                "destination": Out(place),
                "base": Out(range(2 * config.constant_pairs + config.state_elements)),
                "shift": Out(shape(config, "stat_shift")),
                "sampling": Out(1),
                "sampled": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        counter, head = Signal(range(c.instructions)), Signal(range(c.instructions))
        quarter = Signal(range(WORDS))
        first, running = Signal(), Signal()
        now = _Now(
            op=Signal(range(max(SMALL.operations) + 1), name="op"),
            kernel=Signal(shape(c, "kernel"), name="kernel"),
            mean_square=Signal(shape(c, "mean_square"), name="mean_square"),
            count=Signal(pointer(c), name="count"),
            tokens=Signal(pointer(c), name="tokens"),
            in_body=Signal(name="in_body"),
            counter=counter,
            head=head,
        )
        m.d.comb += [
            self.program_address.eq(Cat(quarter, counter)),
            self.sampling.eq((now.op == Op.MATVEC) & among(now.kernel, lambda k: k.samples)),
        ]
        done = self._words(m, first, running, now)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                m.d.sync += [now.tokens.eq(self.token), now.in_body.eq(self.run_body)]
                m.d.comb += self.restart.eq(self.run_body)
                with m.If(self.run_body):
                    m.d.sync += counter.eq(0)
                    m.next = "FETCH"
                with m.Elif(self.run_head):
                    m.d.sync += counter.eq(head)
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += quarter.eq(ORDER[0])
                m.next = f"WORD{ORDER[0]}"
            for word, following in pairwise(ORDER):
                with m.State(f"WORD{word}"):
                    m.d.comb += quarter.eq(following)
                    self._take(m, word, now)
                    m.next = "DECODE" if following == IMMEDIATE else f"WORD{following}"
            with m.State("DECODE"):
                m.d.comb += quarter.eq(IMMEDIATE)
                with m.Switch(now.op):
                    for op in SMALL.operations:
                        with m.Case(op):
                            DECODES[op](self, m, now)
                fields = {"kernel": now.kernel, "mean_square": now.mean_square}
                with m.If(unknown(SMALL, now.op, fields)):
                    m.d.comb += self.fault.eq(1)
                    m.next = "IDLE"
            with m.State("BEGIN"):
                m.d.comb += first.eq(1)
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += running.eq(1)
                m.d.comb += quarter.eq(Mux(self.word.second, CONSTANTS, IMMEDIATE))
                with m.If(done):
                    m.d.comb += self.sampled.eq(self.sampling)
                    m.next = "NEXT"
            with m.State("NEXT"):
                m.d.sync += counter.eq(counter + 1)
                m.next = "FETCH"
        return m

    def _take(self, m: Module, word: int, now: _Now) -> None:
        """What a word of an instruction holds, to where it is kept."""
        kept = {
            "op": now.op,
            "kernel": now.kernel,
            "mean_square": now.mean_square,
            "stat_shift": self.shift,
            "n": now.count,
            "src": self.source,
            "dst": self.destination,
        }
        fields = layout(self.config, [word])(self.program)
        for name, register in kept.items():
            if PLACES[name].word == word:
                m.d.sync += register.eq(fields[name])
        if PLACES["n"].word == word:
            op = fields.op if PLACES["op"].word == word else now.op
            with m.If(op == Op.QUANTISE):
                m.d.sync += self.columns.eq(fields.n)
        if PLACES["constants"].word == word:
            m.d.sync += self.base.eq(fields.constants << 1)

    def _words(self, m: Module, first: Signal, running: Signal, now: _Now) -> Signal:
        """The microprogram; returns whether an instruction's last word is being executed."""
        at, following = Signal(range(microcode.WORDS)), Signal(range(microcode.WORDS))
        done, begun = Signal(), Signal()
        contents: Ints = np.array(microprogram(), np.int64)
        word = data.View(WORD, rom(m, contents, WORD.size, following, name="microprogram"))
        last, target = Signal(), word.target
        group_ends = self.row == self.config.rows - 1
        m.d.sync += at.eq(following)
        m.d.comb += last.eq(self.element + 1 == now.count)
        on = Signal.like(at)
        m.d.comb += [on.eq(at + 1), following.eq(on)]
        with m.If(first):
            m.d.comb += following.eq(Cat(now.op[:KERNEL_BITS], Const(1, 1)))
            m.d.sync += [self.element.eq(0), self.row.eq(0), begun.eq(0)]
        with m.Elif(running):
            m.d.comb += self.word.eq(word)
            with m.Switch(word.next):
                with m.Case(Next.LOOP, Next.ROW):
                    m.d.comb += self.following.eq(word.next == Next.LOOP)
                    m.d.sync += self.element.eq(Mux(last, 0, self.element + 1))
                    with m.If(~last):
                        m.d.comb += following.eq(target)
                    with m.If(word.next == Next.ROW):
                        m.d.sync += self.row.eq(Mux(group_ends, 0, self.row + 1))
                        with m.If(~last & group_ends):
                            m.d.comb += following.eq(target - 1)
                with m.Case(Next.JUMP):
                    m.d.comb += following.eq(target)
                with m.Case(Next.CHOICE):
                    choice = Mux(now.op == Op.MATVEC, now.kernel, now.mean_square)
                    m.d.comb += following.eq(target | choice)
                with m.Case(Next.ARRAY):
                    m.d.comb += self.group.eq(~begun)
                    m.d.sync += begun.eq(1)
                    with m.If(begun & ~self.array_busy):
                        m.d.sync += begun.eq(0)
                    with m.Else():
                        m.d.comb += following.eq(at)
                with m.Case(Next.DONE):
                    m.d.comb += done.eq(1)
        return done


@DECODES(Op.MODEL)
def _model(control: Control, m: Module, now: _Now) -> None:
    m.next = "NEXT"


@DECODES(Op.SCALARS)
@DECODES(Op.QUANTISE)
def _begin(control: Control, m: Module, now: _Now) -> None:
    m.next = "BEGIN"


@DECODES(Op.EMBED)
def _embed(control: Control, m: Module, now: _Now) -> None:
    # A row's constants are as many as the immediate, twice, for each token.
    m.d.sync += now.tokens.eq(now.tokens - 1)
    with m.If(now.tokens != 0):
        m.d.sync += control.base.eq(control.base + (control.program << 1))
    with m.Else():
        m.next = "BEGIN"


@DECODES(Op.MATVEC)
def _matvec(control: Control, m: Module, now: _Now) -> None:
    m.d.sync += control.base.eq(first_gate(control.config) | control.destination)
    m.next = "BEGIN"


@DECODES(Op.END)
def _end(control: Control, m: Module, now: _Now) -> None:
    with m.If(now.in_body):
        m.d.sync += now.head.eq(now.counter + 1)
    m.next = "IDLE"
