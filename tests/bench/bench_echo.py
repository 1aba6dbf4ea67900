"""A device to test the benches with, and its cocotb module: a stream through a FIFO."""

from typing import Any

import cocotb
from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from bench import context
from bench.mismatch import compare
from bench.streams import StreamSink, StreamSource

CORRUPT, DROP = 1, 2  # values of `fault`
FAULTY = 99  # index of the word that CORRUPT changes


class Item(data.Struct):
    """Payload with fields, so that the drivers pack and unpack."""

    index: unsigned(12)
    value: unsigned(18)


class Echo(wiring.Component):
    """o = i after a FIFO of four; faults on demand.

    Members: `i`, `o` streams of `Item`; `fault` 1 flips a bit of one word, 2 drops `valid`
    in every eighth cycle whether or not the word was taken.
    """

    i: In(stream.Signature(Item))
    o: Out(stream.Signature(Item))
    fault: In(2)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.fifo = queue = fifo.SyncFIFOBuffered(width=30, depth=4)
        cycle, count = Signal(3), Signal(12)
        drop = (self.fault == DROP) & (cycle == 7)
        flip = (self.fault == CORRUPT) & (count == FAULTY)
        m.d.sync += [cycle.eq(cycle + 1), count.eq(count + (self.o.valid & self.o.ready))]
        m.d.comb += [
            queue.w_data.eq(self.i.payload),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(queue.w_rdy),
            self.o.payload.eq(queue.r_data ^ Mux(flip, 1 << 14, 0)),
            self.o.valid.eq(queue.r_rdy & ~drop),
            queue.r_en.eq(self.o.ready & ~drop),
        ]
        return m


@cocotb.test()
async def echoes(dut: Any) -> None:
    """Every word comes back, in order, whatever both sides stall."""
    given = context.parameters()
    dut.fault.value = given["fault"]
    source = StreamSource(dut, "i", stall=given["stall_in"], layout=Item.as_shape())
    sink = StreamSink(dut, "o", stall=given["stall_out"], layout=Item.as_shape())
    await context.start(dut)
    values = context.arrays()["values"].tolist()
    words = [{"index": i, "value": value} for i, value in enumerate(values)]
    sender = cocotb.start_soon(source.send(words))
    got = await sink.receive(len(words), limit=100_000)
    await sender
    compare("index", range(len(words)), [word["index"] for word in got], unit="echo", width=12)
    compare("value", values, [word["value"] for word in got], layer=3, unit="echo", width=18)
