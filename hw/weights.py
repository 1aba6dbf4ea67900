"""Weight path: sequential reader of weight memory and the unpackers of its two packings."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig


class WeightReader(wiring.Component):
    """Streams weight memory from its start, one word per cycle.

    Members
    -------
    restart : In(1)
        Begin again at word 0: a token reads the whole model once, in order.
    address : Out, data : In
        Read port of the memory, data one cycle later.
    o : Out(stream)
        Words in order. The address stays put while a word waits, so the block RAM's own output
        register is the only buffer.

    Latency: 2 cycles from `restart` to the first word.
    """

    def __init__(self, depth: int, width: int) -> None:
        super().__init__(
            {
                "restart": In(1),
                "address": Out(range(max(depth, 2))),
                "data": In(width),
                "o": Out(stream.Signature(width)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        current = Signal.like(self.address)
        running = Signal()
        m.d.comb += [
            self.address.eq(Mux(self.restart, 0, current + (self.o.valid & self.o.ready))),
            self.o.payload.eq(self.data),
            self.o.valid.eq(running),
        ]
        m.d.sync += [current.eq(self.address), running.eq(running | self.restart)]
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
