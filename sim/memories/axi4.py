"""Model of a memory behind an AXI4 port: in order, with a fixed latency, a beat per cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In

from setun.hw.memory.controllers.axi4_pins import axi4
from setun.sim.memories.bulk import BulkStore

OUTSTANDING = 16  # bursts that the model accepts before it stops the address channel


class Axi4Memory(wiring.Component):
    """Answers INCR bursts of whole beats in order, every first beat `latency` cycles after AR.

    Bursts follow each other without a gap; writes are single beats. Stops while R is not taken.

    Parameters
    ----------
    data_bits, address_bits, id_bits
        Of the port.
    depth
        Beats; the address wraps.
    latency
        Cycles from an address to its first beat, when no burst before is being answered.

    Members: `axi : In`, see `setun.hw.memory.controllers.axi4_pins.axi4`.
    """

    def __init__(
        self, data_bits: int, depth: int, *, latency: int, address_bits: int = 64, id_bits: int = 1
    ) -> None:
        if latency < 4:
            raise ValueError(f"the model takes 4 cycles itself: {latency=}")
        self.data_bits, self.depth, self.latency = data_bits, depth, latency
        super().__init__({"axi": In(axi4(data_bits, address_bits, id_bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi = self.axi
        m.submodules.store = store = BulkStore(self.data_bits, self.depth)
        shift = (self.data_bits // 8).bit_length() - 1
        burst = data.StructLayout(
            {"beat": range(self.depth), "left": 8, "id": len(axi.arid), "due": 32}
        )
        m.submodules.bursts = bursts = fifo.SyncFIFOBuffered(width=burst.size, depth=OUTSTANDING)
        now = Signal(32)
        m.d.sync += now.eq(now + 1)
        asked, current = Signal(burst), data.View(burst, bursts.r_data)
        m.d.comb += [
            asked.beat.eq(axi.araddr >> shift),
            asked.left.eq(axi.arlen),
            asked.id.eq(axi.arid),
            asked.due.eq(now + (self.latency - 2)),
            bursts.w_data.eq(asked),
            bursts.w_en.eq(axi.arvalid),
            axi.arready.eq(bursts.w_rdy),
        ]
        # Beats are read one cycle ahead into a queue of two, so R may stop at any time.
        step, beat, final = Signal(), Signal(range(256)), Signal()
        m.submodules.queue = queue = fifo.SyncFIFO(width=self.data_bits + 1 + len(axi.rid), depth=4)
        arriving = Signal()
        early = Signal(32)  # the highest bit: what is asked for is due later
        m.d.comb += early.eq(now - current.due)
        tag = Signal(1 + len(axi.rid))
        m.d.comb += [
            final.eq(beat == current.left),
            step.eq(bursts.r_rdy & ~early[-1] & (queue.level + arriving < 3)),
            bursts.r_en.eq(step & final),
            store.read_address.eq(current.beat + beat),
            queue.w_en.eq(arriving),
            queue.w_data.eq(Cat(store.read_data, tag)),
            axi.rvalid.eq(queue.r_rdy),
            Cat(axi.rdata, axi.rlast, axi.rid).eq(queue.r_data),
            queue.r_en.eq(axi.rready),
        ]
        m.d.sync += [arriving.eq(step), tag.eq(Cat(final, current.id))]
        with m.If(step):
            m.d.sync += beat.eq(Mux(final, 0, beat + 1))

        # One write at a time: address and data in either order, then the response.
        have_address, have_data, answer = Signal(), Signal(), Signal()
        m.d.comb += [
            axi.awready.eq(~have_address & ~answer),
            axi.wready.eq(have_address & ~have_data & ~answer),
            axi.bvalid.eq(answer),
        ]
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [
                have_address.eq(1),
                store.write_address.eq(axi.awaddr >> shift),
                axi.bid.eq(axi.awid),
            ]
        m.d.sync += store.write_enable.eq(0)
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += [
                have_address.eq(0),
                answer.eq(1),
                store.write_data.eq(axi.wdata),
                store.write_enable.eq(axi.wstrb),
            ]
        with m.If(axi.bvalid & axi.bready):
            m.d.sync += answer.eq(0)
        return m
