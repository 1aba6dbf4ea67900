"""Weight path: sequential reader of weight memory and the unpackers of its two packings."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.hw.commands import weights_command
from setun.hw.seats import number

LEAD = 3  # cycles from the transfer of a word on the chip to its bits


def lead(config: ChipConfig) -> int:
    """Cycles by which a weight word comes before its bits; 0 for memories beyond the chip."""
    return 0 if config.external else LEAD


class WeightReader(wiring.Component):
    """Words of weight memory, one per cycle; a matvec's words again for every seat.

    What the array takes is only a promise, kept `LEAD` cycles later: nothing but registers drives
    the memory, which spans the FPGA, and no word has to wait anywhere.

    Parameters
    ----------
    config
        The chip; its seats.
    depth, width
        Of the memory, which answers `LEAD` cycles after its address.

    Members
    -------
    restart : In(1)
        Begin again at word 0.
    command : In(stream of `setun.hw.commands.weights_command`)
        Words of the next matvec, at least 1; they follow those of the one before.
    last : In
        Highest seat of the pass.
    address : Out, data : In
        Read port of the memory.
    o : Out(stream)
        Words in order; the payload is that of the transfer `LEAD` cycles ago.
    """

    def __init__(self, config: ChipConfig, depth: int, width: int) -> None:
        self.config = config
        super().__init__(
            {
                "restart": In(1),
                "command": In(stream.Signature(weights_command())),
                "last": In(number(config.contexts)),
                "address": Out(range(max(depth, 2))),
                "data": In(width),
                "o": Out(stream.Signature(width)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        start = Signal.like(self.address)  # of the matvec
        # Of the matvec, and of those for this seat.
        words, left = Signal(weights_command()), Signal(weights_command())
        active, ending = Signal(), Signal()  # a matvec is under way; left == 1
        seat = Signal(number(self.config.contexts))
        taken, done, final, load = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.o.valid.eq(active),
            taken.eq(active & self.o.ready),
            done.eq(taken & ending),
            final.eq(seat == self.last),
            load.eq(self.command.valid & (~active | (done & final))),
            self.command.ready.eq(load),
            self.o.payload.eq(self.data),
        ]
        with m.If(taken):
            m.d.sync += [
                self.address.eq(self.address + 1),
                left.eq(left - 1),
                ending.eq(left == 2),
            ]
        with m.If(done & final):
            m.d.sync += [start.eq(self.address + 1), seat.eq(0), active.eq(0)]
        with m.Elif(done):
            m.d.sync += [self.address.eq(start), seat.eq(seat + 1)]
            m.d.sync += [left.eq(words), ending.eq(words == 1)]
        with m.If(load):
            count = self.command.payload
            m.d.sync += [active.eq(1), words.eq(count), left.eq(count), ending.eq(count == 1)]
        with m.If(self.restart):
            m.d.sync += [self.address.eq(0), start.eq(0), seat.eq(0), active.eq(0)]
        return m


def unpack_weights(m: Module, config: ChipConfig, packed: Value) -> Value:
    """(nonzero, negative) bit pairs of one weight word; combinational."""
    size, count = len(packed) // config.pump, config.macs // config.pump
    return Cat(
        unpack(m, config.packing, packed[k * size : (k + 1) * size], count, f"part{k}_")
        for k in range(config.pump)
    )


def unpack(m: Module, packing: str, packed: Value, count: int, name: str = "") -> Value:
    """(nonzero, negative) bit pairs of `count` weights that begin with a byte; combinational."""
    if packing == "2b":
        return packed
    pairs = []
    for k in range(len(packed) // 8):
        trits = Signal(10, name=f"{name}trits{k}")
        m.d.comb += trits.eq(decode_trits(packed[8 * k : 8 * k + 8]))
        pairs.append(trits)
    return Cat(*pairs)[: 2 * count]


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
