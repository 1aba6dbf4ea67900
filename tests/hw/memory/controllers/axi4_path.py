"""An AXI4 memory with latency, in gateware, and weights read from it at full speed."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from setun.hw.memory.controllers.axi4 import Axi4Reader
from setun.hw.memory.controllers.axi4_pins import axi4
from setun.hw.memory.controllers.dma import WeightDma

SPREAD = 0x9E3779B1


def pattern(first: Value, words: int) -> Value:
    """Contents of 32-bit words `first`, `first` + 1, ...: a different one for each number."""
    return Cat(*(((first + k) * SPREAD)[:32] for k in range(words)))


class Axi4Memory(wiring.Component):
    """Answers reads with `pattern`, `latency` cycles after the address, then a beat a cycle.

    Up to 64 bursts wait; bursts follow each other without a gap.
    """

    def __init__(self, data_bits: int) -> None:
        self.data_bits = data_bits
        super().__init__({"axi": In(axi4(data_bits, 64)), "latency": In(16)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi = self.axi
        layout = data.StructLayout({"word": 48, "beats": 8, "at": 32})
        m.submodules.queue = queue = fifo.SyncFIFO(width=layout.size, depth=64)
        into, head = data.View(layout, queue.w_data), data.View(layout, queue.r_data)
        time, done = Signal(32), Signal(8)
        lanes = self.data_bits // 32
        m.d.sync += time.eq(time + 1)
        m.d.comb += [
            axi.arready.eq(queue.w_rdy),
            queue.w_en.eq(axi.arvalid),
            into.word.eq(axi.araddr >> 2),
            into.beats.eq(axi.arlen),
            into.at.eq(time + self.latency),
            axi.rvalid.eq(queue.r_rdy & (time >= head.at)),
            axi.rdata.eq(pattern(head.word + done * lanes, lanes)),
            axi.rlast.eq(done == head.beats),
            queue.r_en.eq(axi.rvalid & axi.rready & axi.rlast),
        ]
        with m.If(axi.rvalid & axi.rready):
            m.d.sync += done.eq(Mux(axi.rlast, 0, done + 1))
        return m


class Axi4Path(wiring.Component):
    """`WeightDma` on `Axi4Reader` on `Axi4Memory`, with a reader that is always ready.

    Members: `restart` and `hold` of the DMA, `latency` of the memory; `cycles` since the
    restart, `words` taken, `wrong` of these.
    """

    def __init__(
        self, *, data_bits: int, weight_bits: int, burst: int, depth: int, outstanding: int
    ) -> None:
        capacity = 1 << 26
        self.reader = Axi4Reader(data_bits, capacity, outstanding=outstanding)
        self.dma = WeightDma(
            beat=data_bits, capacity=capacity, weight_bits=weight_bits, burst=burst, depth=depth
        )
        self.memory = Axi4Memory(data_bits)
        counts = {name: Out(32) for name in ("cycles", "words", "wrong")}
        super().__init__({"restart": In(1), "hold": In(1), "latency": In(16), **counts})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reader, m.submodules.dma, m.submodules.memory = (
            reader,
            dma,
            memory,
        ) = self.reader, self.dma, self.memory
        wiring.connect(m, reader.axi, memory.axi)
        wiring.connect(m, dma.read, reader.read)
        wiring.connect(m, dma.i, reader.o)
        words = len(dma.o.payload) // 32
        m.d.comb += [
            reader.enable.eq(1),
            memory.latency.eq(self.latency),
            dma.restart.eq(self.restart),
            dma.hold.eq(self.hold),
            dma.o.ready.eq(1),
        ]
        expected = pattern(self.words * words, words)
        with m.If(self.restart):
            m.d.sync += [self.cycles.eq(0), self.words.eq(0), self.wrong.eq(0)]
        with m.Else():
            m.d.sync += [
                self.cycles.eq(self.cycles + 1),
                self.words.eq(self.words + dma.o.valid),
                self.wrong.eq(self.wrong + (dma.o.valid & (dma.o.payload != expected))),
            ]
        return m
