"""Bits of a quad SPI bus: operations of up to 32 clocks, one behind the other without a gap."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.hw.memory.controllers.qspi_parts import flash_pins
from setun.hw.pipeline import delayed

# `count` SCK cycles. Out: `data` from its top bit down, on io0 or on all four. In: the pins are
# left to the part; `keep` when `word` shall take what it says.
operation = data.StructLayout({"data": 32, "count": range(33), "quad": 1, "input": 1, "keep": 1})


class QspiShifter(wiring.Component):
    """Drives SCK and the data pins in SPI mode 0, SCK at half the clock.

    Parameters
    ----------
    round_trip
        Cycles from SCK's falling edge, in its register, to the register of `io_i` that takes
        the bits which the edge brings forth.

    Members
    -------
    op : In(stream of `operation`)
        SCK rests low, and the pins as they are, while none is offered.
    idle : Out(1)
        SCK is low and no operation under way.
    word : Out(32)
        The bits of operations that keep them, shifted in from below; not cleared between.
    done : Out(1)
        The last bits of such an operation are in `word`, and remain for two cycles.
    pins : Out
        All but `cs_n`; every output is a register, and so is what `io_i` enters.

    Latency: 2 cycles from an operation to the rise of SCK; `done` comes 1 + `round_trip` cycles
    behind its last clock's rise. Throughput: a clock in 2 cycles.
    """

    def __init__(self, *, round_trip: int) -> None:
        self.round_trip = round_trip
        pins = dict(flash_pins().members)
        del pins["cs_n"]
        super().__init__(
            {
                "op": In(stream.Signature(operation)),
                "idle": Out(1),
                "word": Out(32),
                "done": Out(1),
                "pins": Out(wiring.Signature(pins)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        op, pins = self.op, self.pins
        now = Signal(operation)
        rising, empty = Signal(), Signal(init=1)
        last = Signal()
        m.d.comb += [
            last.eq(now.count == 1),
            op.ready.eq(empty | (rising & last)),
            self.idle.eq(empty & ~pins.sck),
        ]
        with m.If(rising):
            m.d.sync += [
                pins.sck.eq(1),
                rising.eq(0),
                empty.eq(last),
                now.count.eq(now.count - 1),
                now.data.eq(Mux(now.quad, now.data << 4, now.data << 1)),
            ]
        with m.Else():
            m.d.sync += pins.sck.eq(0)
            with m.If(~empty):
                m.d.sync += rising.eq(1)
                with m.If(now.quad):
                    m.d.sync += [pins.io_o.eq(now.data[28:]), pins.io_oe.eq(Mux(now.input, 0, 15))]
                with m.Else():
                    m.d.sync += [
                        pins.io_o.eq(Cat(now.data[31], Const(0b110, 3))),
                        pins.io_oe.eq(Cat(~now.input, Const(0b110, 3))),
                    ]
        with m.If(op.valid & op.ready):
            m.d.sync += [now.eq(op.payload), empty.eq(0)]

        io, keep = Signal(4), Signal(3)
        m.d.comb += keep.eq(Cat(rising & now.keep, last, now.quad))
        taken = delayed(m, keep, self.round_trip, "keep", reset=True)
        m.d.sync += [io.eq(pins.io_i), self.done.eq(taken[0] & taken[1])]
        with m.If(taken[0]):
            m.d.sync += self.word.eq(
                Mux(taken[2], Cat(io, self.word[:-4]), Cat(io[1], self.word[:-1]))
            )
        return m
