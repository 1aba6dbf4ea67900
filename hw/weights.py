"""Weight path: sequential reader of weight memory and the unpackers of its two packings."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.hw.seats import number


class WeightReader(wiring.Component):
    """Streams weight memory, one word per cycle; a matvec's words again for every seat.

    Parameters
    ----------
    config
        The chip; its seats.
    depth, width
        Of the memory.
    latency
        Cycles from its address to its data.

    Members
    -------
    restart : In(1)
        Begin again at word 0.
    command : In(stream of 24)
        Words of the next matvec; they follow those of the one before.
    last : In
        Highest seat of the pass.
    address : Out, data : In
        Read port of the memory.
    hold : In(1)
        Somebody else has the port in this cycle.
    o : Out(stream)
        Words in order. Up to `AHEAD` are read before they are wanted, so that nothing but a
        register drives the memory's address.

    Latency: `latency` + 3 cycles from a command to its first word.
    """

    AHEAD = 8

    def __init__(self, config: ChipConfig, depth: int, width: int, latency: int = 1) -> None:
        self.config, self.latency = config, latency
        super().__init__(
            {
                "restart": In(1),
                "command": In(stream.Signature(24)),
                "last": In(number(config.contexts)),
                "address": Out(range(max(depth, 2))),
                "data": In(width),
                "hold": In(1),
                "o": Out(stream.Signature(width)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        queue = fifo.SyncFIFO(width=len(self.data), depth=self.AHEAD)
        m.submodules.queue = ResetInserter(self.restart)(queue)
        read, done = Signal(), Signal()
        start, left = Signal.like(self.address), Signal(24)  # of the matvec; 0 before it begins
        remaining = Signal(24)
        seat = Signal(number(self.config.contexts))
        ahead = Signal(range(self.AHEAD + 1))
        taken = self.o.valid & self.o.ready
        m.d.comb += [
            read.eq(self.command.valid & ~self.hold & (ahead != self.AHEAD) & ~self.restart),
            remaining.eq(Mux(left == 0, self.command.payload, left)),
            done.eq(read & (remaining == 1)),
            self.command.ready.eq(done & (seat == self.last)),
            queue.w_data.eq(self.data),
            self.o.payload.eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
        ]
        arriving = Signal(self.latency)
        m.d.comb += queue.w_en.eq(arriving[-1])
        with m.If(self.restart):
            m.d.sync += [self.address.eq(0), start.eq(0), ahead.eq(0), arriving.eq(0)]
            m.d.sync += [left.eq(0), seat.eq(0)]
        with m.Else():
            with m.If(read):
                m.d.sync += [left.eq(remaining - 1), self.address.eq(self.address + 1)]
            with m.If(done):
                m.d.sync += [seat.eq(seat + 1), self.address.eq(start)]
            with m.If(self.command.ready):
                m.d.sync += [seat.eq(0), self.address.eq(self.address + 1)]
                m.d.sync += start.eq(self.address + 1)
            m.d.sync += [
                ahead.eq(ahead + read - taken),
                arriving.eq(Cat(read, arriving)),
            ]
        return m


def unpack_weights(m: Module, config: ChipConfig, packed: Value) -> Value:
    """(nonzero, negative) bit pairs of one weight word; combinational."""
    if config.packing == "2b":
        return packed
    pairs = []
    for k in range(len(packed) // 8):
        trits = Signal(10, name=f"trits{k}")
        m.d.comb += trits.eq(decode_trits(packed[8 * k : 8 * k + 8]))
        pairs.append(trits)
    return Cat(*pairs)[: 2 * config.macs]


def decode_trits(t: Value) -> Value:
    """Five (nonzero, negative) pairs from a byte of the ASTC trit encoding.

    Khronos Data Format Specification 1.3, section 23.11 (integer sequence encoding). A trit 1
    is weight +1 and a trit 2 is weight -1, so a trit's bits are (high | low, high).
    """
    wide = t[2:5].all()
    c = Mux(wide, Cat(t[0:2], t[5:8]), t[0:5])
    four_is_two = t[5:7].all()
    t4 = Mux(wide, 0b10, Mux(four_is_two, 0b10, t[7]))
    t3 = Mux(wide, 0b10, Mux(four_is_two, t[7], t[5:7]))
    low, mid = c[0:2].all(), c[2:4].all()
    t2 = Mux(low | mid, 0b10, c[4])
    t1 = Mux(low, c[4], Mux(mid, 0b10, c[2:4]))
    t0 = Mux(low, Cat(c[2] & ~c[3], c[3]), Mux(mid, c[0:2], Cat(c[0] & ~c[1], c[1])))
    return Cat(*(Cat(v[:2].any(), v[1]) for v in (t0, t1, t2, t3, t4)))
