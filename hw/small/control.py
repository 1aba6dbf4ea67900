"""Control of the small core: instructions from program memory, words of the microprogram."""

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.firmware.numerics.functions import Ints
from setun.firmware.program.isa import Kernel, Op
from setun.hw.arith.bits import rom
from setun.hw.small.addresses import first_gate
from setun.hw.small.microcode import WORD, WORDS, Next, entry, microprogram


def pointer(config: ChipConfig) -> range:
    """Elements of vector memory and state."""
    return range(max(config.vector_elements, config.state_elements, config.max_columns) + 1)


class Control(wiring.Component):
    """Runs the body for a token or the head for a sample, an instruction after the other.

    Members
    -------
    run_body, run_head : In(1)
        Strobes, while idle: from the start, or from behind the body's END.
    idle : Out(1), fault : Out(1)
        The latter is a strobe: an unknown operation was met, and the run ends.
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
                "program_address": Out(range(4 * config.instructions)),
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
                "shift": Out(4),
                "sampling": Out(1),
                "sampled": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        counter, head = Signal(range(c.instructions)), Signal(range(c.instructions))
        quarter, in_body = Signal(2), Signal()
        op, kernel = Signal(Op), Signal(Kernel)
        mean_square = Signal(2)
        count = Signal(pointer(c))
        tokens = Signal(pointer(c))
        first, running = Signal(), Signal()
        low, high = self.program[:16], self.program[16:]
        m.d.comb += [
            self.program_address.eq(Cat(quarter, counter)),
            self.sampling.eq((op == Op.MATVEC) & (kernel == Kernel.SAMPLE)),
        ]
        done = self._words(m, first, running, op, kernel, mean_square, count)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                m.d.sync += [tokens.eq(self.token), in_body.eq(self.run_body)]
                m.d.comb += self.restart.eq(self.run_body)
                with m.If(self.run_body):
                    m.d.sync += counter.eq(0)
                    m.next = "FETCH"
                with m.Elif(self.run_head):
                    m.d.sync += counter.eq(head)
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.next = "FLAGS"
            with m.State("FLAGS"):
                m.d.comb += quarter.eq(1)
                flags = self.program[4:16]
                m.d.sync += [op.eq(low[:4]), kernel.eq(flags[:3]), mean_square.eq(flags[1:3])]
                m.d.sync += [self.shift.eq(flags[5:9]), count.eq(high)]
                with m.If(low[:4] == Op.QUANTISE):
                    m.d.sync += self.columns.eq(high)
                m.next = "PLACES"
            with m.State("PLACES"):
                m.d.comb += quarter.eq(2)
                m.d.sync += [self.source.eq(low), self.destination.eq(high)]
                m.next = "CONSTANTS"
            with m.State("CONSTANTS"):
                m.d.comb += quarter.eq(3)
                m.d.sync += self.base.eq(self.program << 1)
                m.next = "DECODE"
            with m.State("DECODE"):
                m.d.comb += quarter.eq(3)
                with m.Switch(op):
                    with m.Case(Op.MODEL):
                        m.next = "NEXT"
                    with m.Case(Op.EMBED):
                        # A row's constants are as many as the immediate, twice, for each token.
                        m.d.sync += tokens.eq(tokens - 1)
                        with m.If(tokens != 0):
                            m.d.sync += self.base.eq(self.base + (self.program << 1))
                        with m.Else():
                            m.next = "BEGIN"
                    with m.Case(Op.SCALARS, Op.QUANTISE):
                        m.next = "BEGIN"
                    with m.Case(Op.MATVEC):
                        m.d.sync += self.base.eq(first_gate(c) | self.destination)
                        m.next = "BEGIN"
                    with m.Case(Op.END):
                        with m.If(in_body):
                            m.d.sync += head.eq(counter + 1)
                        m.next = "IDLE"
                    with m.Default():
                        m.d.comb += self.fault.eq(1)
                        m.next = "IDLE"
            with m.State("BEGIN"):
                m.d.comb += first.eq(1)
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [running.eq(1), quarter.eq(Mux(self.word.second, 2, 3))]
                with m.If(done):
                    m.d.comb += self.sampled.eq(self.sampling)
                    m.next = "NEXT"
            with m.State("NEXT"):
                m.d.sync += counter.eq(counter + 1)
                m.next = "FETCH"
        return m

    def _words(
        self,
        m: Module,
        first: Signal,
        running: Signal,
        op: Signal,
        kernel: Signal,
        mean_square: Signal,
        count: Signal,
    ) -> Signal:
        """The microprogram; returns whether an instruction's last word is being executed."""
        at, following = Signal(range(WORDS)), Signal(range(WORDS))
        done, begun = Signal(), Signal()
        contents: Ints = np.array(microprogram(), np.int64)
        word = data.View(WORD, rom(m, contents, WORD.size, following, name="microprogram"))
        last, target = Signal(), word.target
        group_ends = self.row == self.config.rows - 1
        m.d.sync += at.eq(following)
        m.d.comb += last.eq(self.element + 1 == count)
        on = Signal.like(at)
        m.d.comb += [on.eq(at + 1), following.eq(on)]
        with m.If(first):
            m.d.comb += following.eq(Cat(op[:3], Const(1, 1)))
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
                    m.d.comb += following.eq(target | Mux(op == Op.MATVEC, kernel, mean_square))
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


assert all(entry(op) == 8 | op for op in (Op.SCALARS, Op.EMBED, Op.QUANTISE, Op.MATVEC))
