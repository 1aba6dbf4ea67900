"""AXI4 master: external memory behind an AXI4 port as a memory controller."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.hw.memory.controllers.axi4_pins import INCR, OKAY, axi4
from setun.hw.memory.controllers.port import MAX_BEATS, controller_members

BOUNDARY = 4096  # bytes; no AXI burst crosses a multiple of it
CACHE = 0b0011  # normal memory, not cacheable, bufferable


class Axi4Reader(wiring.Component):
    """Reads bursts of an AXI4 memory, and reads and writes its words for the link.

    Parameters
    ----------
    data_bits
        Of the port: a power of two from 64 to 512.
    capacity
        Bytes that belong to the chip, from `base` on; a multiple of a beat.
    address_bits
        Of the port.
    outstanding
        Bursts requested and not finished, at most. Full rate needs the latency in cycles
        divided by the burst's beats, plus one.
    id_bits
        Of the port; the identifier is always 0, so that answers come in order.

    Attributes
    ----------
    burst
        Beats between two boundaries of 4 KB, or 256 if they are fewer: no request of `read`
        crosses a multiple of it.

    Members
    -------
    read, o, bus_req, bus_rsp, ready
        See `controller_members`; a beat is `data_bits`. `ready` shows `enable`. A request
        becomes one burst (INCR). `o` passes the R channel on: a memory that gives a beat per
        cycle is never stopped while `o.ready`. Data comes with an error too.
    enable : In(1)
        The memory may be used: no burst and no word is begun before.
    base : In(address_bits)
        Where the chip's bytes begin. Its 12 low bits count as zeros; constant while in use.
    pending : Out(range(outstanding + 1))
        Bursts on offer or not fully answered, a word's read included.
    error : Out(1), clear : In(1)
        A response other than OKAY came since the last `clear`.
    axi : Out
        See `axi4`. A word of the link is a burst of one whole beat, written with its strobes.

    Latency: request to address channel 1 cycle; data none. Throughput: one beat per cycle.
    """

    def __init__(
        self,
        data_bits: int,
        capacity: int,
        *,
        address_bits: int = 64,
        outstanding: int = 16,
        id_bits: int = 1,
    ) -> None:
        if data_bits not in (64, 128, 256, 512):
            raise ValueError(f"AXI4 data must be 64, 128, 256 or 512 bits: {data_bits}")
        if outstanding < 1:
            raise ValueError(f"at least one burst must be outstanding: {outstanding}")
        if capacity * 8 % data_bits or not 12 <= (capacity - 1).bit_length() <= address_bits:
            raise ValueError(f"must be 4 KB to the address space, in whole beats: {capacity=}")
        self.data_bits, self.capacity, self.outstanding = data_bits, capacity, outstanding
        self.burst = min(MAX_BEATS, BOUNDARY * 8 // data_bits)
        self.reading, self.writing = Signal(), Signal()  # a word of the link is on its way
        super().__init__(
            {
                **controller_members(data_bits, capacity),
                "enable": In(1),
                "base": In(address_bits),
                "pending": Out(range(outstanding + 1)),
                "error": Out(1),
                "clear": In(1),
                "axi": Out(axi4(data_bits, address_bits, id_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi, bus = self.axi, self.bus_req
        size = (self.data_bits // 8).bit_length() - 1
        for channel in ("aw", "ar"):
            for pin, value in (("size", size), ("burst", INCR), ("cache", CACHE)):
                m.d.comb += getattr(axi, channel + pin).eq(value)
        m.d.comb += self.ready.eq(self.enable)

        reading, writing = self.reading, self.writing
        burst, word, finished = Signal(), Signal(), Signal()
        m.d.comb += [
            self.read.ready.eq(
                self.enable
                & (~axi.arvalid | axi.arready)
                & (self.pending != self.outstanding)
                & ~(reading | writing)
            ),
            bus.ready.eq(
                self.enable
                & (self.pending == 0)
                & ~(self.read.valid | reading | writing | self.bus_rsp.valid)
            ),
            burst.eq(self.read.valid & self.read.ready),
            word.eq(bus.valid & bus.ready),
            finished.eq(axi.rvalid & axi.rready & axi.rlast),
        ]
        begun = burst | (word & ~bus.payload.write)
        m.d.sync += self.pending.eq(self.pending + begun - finished)
        with m.If(~axi.arvalid | axi.arready):
            m.d.sync += axi.arvalid.eq(begun)

        # One register for both channels: they are never in use together.
        address = Signal(len(self.base))
        lane = bus.payload.address[: size - 2]
        beat = Mux(word, bus.payload.address[size - 2 :], self.read.payload.address)
        offset = (beat << size)[: len(self.base)]
        m.d.comb += [axi.araddr.eq(address), axi.awaddr.eq(address)]
        with m.If(burst | word):
            m.d.sync += [
                address.eq(Cat(offset[:12], self.base[12:] + offset[12:])),
                axi.arlen.eq(Mux(word, 0, self.read.payload.beats - 1)),
            ]
        self._word(m, word, lane)

        failed = Signal()
        m.d.comb += failed.eq(
            (axi.rvalid & axi.rready & (axi.rresp != OKAY))
            | (axi.bvalid & axi.bready & (axi.bresp != OKAY))
        )
        m.d.sync += self.error.eq((self.error & ~self.clear) | failed)
        return m

    def _word(self, m: Module, word: Signal, lane: Value) -> None:
        """The link's word: data and strobes of a write, or its place in the beat read."""
        axi, bus = self.axi, self.bus_req
        reading, writing = self.reading, self.writing
        place = Signal(range(self.data_bits // 32))
        with m.If(word):
            m.d.sync += [
                place.eq(lane),
                axi.wdata.eq(bus.payload.data.replicate(self.data_bits // 32)),
                axi.wstrb.eq(Const(0xF, 4) << (lane << 2)),
                axi.awvalid.eq(bus.payload.write),
                axi.wvalid.eq(bus.payload.write),
                writing.eq(bus.payload.write),
                reading.eq(~bus.payload.write),
            ]
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += axi.awvalid.eq(0)
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += axi.wvalid.eq(0)
        m.d.comb += [axi.wlast.eq(1), axi.bready.eq(writing)]
        with m.If(axi.bvalid & axi.bready):
            m.d.sync += writing.eq(0)

        m.d.comb += [
            self.o.payload.eq(axi.rdata),
            self.o.valid.eq(axi.rvalid & ~reading),
            axi.rready.eq(self.o.ready | reading),
        ]
        with m.If(self.bus_rsp.ready):
            m.d.sync += self.bus_rsp.valid.eq(0)
        with m.If(reading & axi.rvalid):
            m.d.sync += [
                self.bus_rsp.payload.eq(axi.rdata.word_select(place, 32)),
                self.bus_rsp.valid.eq(1),
                reading.eq(0),
            ]
