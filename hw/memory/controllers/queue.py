"""FIFO of a writer that knows its room."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out


class CreditQueue(wiring.Component):
    """Words in order, through one RAM and its output register.

    A writer by credit never meets a full queue, so nothing compares a level in front of the
    RAM's enables, which reach hundreds of bits.

    Parameters
    ----------
    width
        Bits of a word.
    depth
        Words of the RAM: a power of two. The output register holds one more.

    Members
    -------
    i : In(stream)
        `i.ready` is always high: no word may be offered while `stored` is `depth`.
    o : Out(stream)
    stored : Out(range(depth + 1))
        Words in the RAM.

    Latency: 2 cycles. Throughput: one word per cycle.
    """

    def __init__(self, width: int, depth: int) -> None:
        if depth & (depth - 1) or depth < 2:
            raise ValueError(f"depth must be a power of two: {depth}")
        self.depth = depth
        self.some = Signal()  # the RAM is not empty
        super().__init__(
            {
                "i": In(stream.Signature(width)),
                "o": Out(stream.Signature(width)),
                "stored": Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ram = ram = memory.Memory(
            shape=self.i.payload.shape(), depth=self.depth, init=[]
        )
        write, read = ram.write_port(), ram.read_port()
        m.d.comb += [
            self.i.ready.eq(1),
            write.en.eq(self.i.valid),
            write.data.eq(self.i.payload),
            read.en.eq(self.some & (~self.o.valid | self.o.ready)),
            self.o.payload.eq(read.data),
        ]
        m.d.sync += [
            write.addr.eq(write.addr + write.en),
            read.addr.eq(read.addr + read.en),
            self.stored.eq(self.stored + write.en - read.en),
            self.some.eq(write.en | (self.stored > read.en)),
        ]
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += self.o.valid.eq(self.some)
        return m
