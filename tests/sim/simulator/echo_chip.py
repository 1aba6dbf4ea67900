"""A chip that answers each byte with a table's entry for it, over a UART with a FIFO."""

from collections.abc import Sequence

from amaranth.back import verilog
from amaranth.hdl import Cat, Const, Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

DIVISOR = 4


class Receiver(wiring.Component):
    """UART receiver: ``ready`` strobes for one cycle with ``data``."""

    rx: In(1, init=1)  # type: ignore[valid-type]
    data: Out(8)  # type: ignore[valid-type]
    ready: Out(1)  # type: ignore[valid-type]

    def __init__(self, divisor: int) -> None:
        self.divisor = divisor
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = Signal(2, init=3)
        timer = Signal(range(2 * self.divisor))
        bits = Signal(4)
        m.d.sync += [line.eq(Cat(self.rx, line[0])), self.ready.eq(0)]
        with m.If(bits == 0):
            with m.If(~line[1]):
                m.d.sync += [bits.eq(9), timer.eq(self.divisor + self.divisor // 2 - 1)]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [bits.eq(bits - 1), timer.eq(self.divisor - 1)]
            with m.If(bits == 1):
                m.d.sync += self.ready.eq(line[1])
            with m.Else():
                m.d.sync += self.data.eq(Cat(self.data[1:], line[1]))
        return m


class EchoChip(Elaboratable):
    """The whole chip; ``table`` has 256 bytes. It also reads, for nobody, beyond a memory."""

    def __init__(self, divisor: int, table: Sequence[int]) -> None:
        self.divisor = divisor
        self.table = table
        self.rx = Signal(init=1)
        self.tx = Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = Receiver(self.divisor)
        m.submodules.lookup = table = Memory(shape=8, depth=256, init=self.table)
        m.submodules.short = short = Memory(shape=8, depth=3, init=[])
        m.d.comb += short.read_port().addr.eq(receiver.data)
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=8, depth=64)
        port = table.read_port()
        valid = Signal()
        m.d.sync += valid.eq(receiver.ready)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            port.addr.eq(receiver.data),
            port.en.eq(1),
            fifo.w_data.eq(port.data),
            fifo.w_en.eq(valid),
        ]
        frame = Signal(10, init=0x3FF)
        bits = Signal(4)
        timer = Signal(range(self.divisor))
        last = Signal()
        m.d.comb += [
            self.tx.eq(frame[0]),
            last.eq((bits == 0) | ((bits == 1) & (timer == 0))),
            fifo.r_en.eq(last),
        ]
        with m.If(last & fifo.r_rdy):
            m.d.sync += [
                frame.eq(Cat(Const(0, 1), fifo.r_data, Const(1, 1))),
                bits.eq(10),
                timer.eq(self.divisor - 1),
            ]
        with m.Elif(bits != 0):
            m.d.sync += timer.eq(timer - 1)
            with m.If(timer == 0):
                m.d.sync += [
                    timer.eq(self.divisor - 1),
                    bits.eq(bits - 1),
                    frame.eq(Cat(frame[1:], Const(1, 1))),
                ]
        return m


def echo_verilog(divisor: int = DIVISOR, table: Sequence[int] = range(256)) -> str:
    """Verilog of the chip, its top module named ``top``."""
    chip = EchoChip(divisor, list(table))
    return str(verilog.convert(chip, name="top", ports=[chip.rx, chip.tx]))
