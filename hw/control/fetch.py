"""Program fetch: instructions of a program in block RAM, the next one while one is executed."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.firmware.program.isa import WORD_BITS, WORDS
from setun.hw.instruction import layout


class ProgramFetch(wiring.Component):
    """Reads body and head, word by word.

    Members
    -------
    idle, run_body, run_head : In(1)
        Of the sequencer. A run begins with the strobe: at the program's start, or behind the
        body's END.
    body_ended : In(1)
        Strobe: the instruction taken last was the body's END.
    address : Out, data : In(32)
        Program memory in words, data one cycle later.
    o : Out(stream of `setun.hw.instruction.layout`)

    Latency: 5 cycles from one instruction to the next.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        super().__init__(
            {
                "idle": In(1),
                "run_body": In(1),
                "run_head": In(1),
                "body_ended": In(1),
                "address": Out(range(WORDS * config.instructions)),
                "data": In(WORD_BITS),
                "o": Out(stream.Signature(layout(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        coming = Signal(layout(self.config))
        counter = Signal.like(self.address)
        behind, head = Signal.like(counter), Signal.like(counter)  # the last one taken; the body
        part = Signal(range(WORDS + 2))
        m.d.comb += [
            self.address.eq(counter),
            self.o.payload.eq(coming),
            self.o.valid.eq(part == WORDS + 1),
        ]
        # Words come in a cycle after they are asked for, the first to the lowest bits.
        with m.If(~self.o.valid & ~self.idle):
            m.d.sync += part.eq(part + 1)
            with m.If(part != WORDS):
                m.d.sync += counter.eq(counter + 1)
            with m.If(part != 0):
                m.d.sync += coming.eq(Cat(coming.as_value()[WORD_BITS:], self.data))
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [part.eq(0), behind.eq(counter)]
        with m.If(self.body_ended):
            m.d.sync += head.eq(behind)
        with m.If(self.idle):
            m.d.sync += part.eq(0)
            with m.If(self.run_body):
                m.d.sync += counter.eq(0)
            with m.Elif(self.run_head):
                m.d.sync += counter.eq(head)
        return m
