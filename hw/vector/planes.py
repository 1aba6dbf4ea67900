"""Planes of five-trit weights, joined row group by row group: tripled and added."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.firmware.numerics.five_trits import PLANES
from setun.hw.seats import number

GROWTH = 7  # bits: a level is 121 at most


class PlaneJoin(wiring.Component):
    """V sums of a word of rows, from groups that are rows or, five in a row, planes of them.

    Groups of a command with `planes` come plane by plane, the greatest first, where seats share
    the weights for each seat in turn. What the planes before the last one make is kept for each
    word of a row group, and of each such seat; the last one's words go on at once.

    Members
    -------
    planes : In(1)
        The groups are planes.
    valid : In(1), group : In(Q signed sums)
        The next group.
    joined : Out(1)
        Strobe: it was a plane before the last one, and is done with.
    goes_on : Out(1)
        It is one of rows, or a last plane: `word` and `seat` choose of it.
    word, seat : In, breaks : In(1)
        Of a row group, and strobe with its last word, for this seat.
    last_seat : In
        Highest seat of the pass.
    sums : Out(V signed sums)
        The word's rows.
    finished : Out(1)
        Strobe: the last seat's last plane is done with.

    Latency: 0 (combinational); a plane before the last one takes Q/V cycles.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        v, self.parts = config.lanes, config.rows // config.lanes
        self.sums_layout = data.ArrayLayout(signed(config.sum_width + GROWTH), v)
        super().__init__(
            {
                "planes": In(1),
                "valid": In(1),
                "group": In(data.ArrayLayout(signed(config.sum_width), config.rows)),
                "joined": Out(1),
                "goes_on": Out(1),
                "word": In(range(self.parts)),
                "seat": In(number(config.contexts)),
                "breaks": In(1),
                "last_seat": In(number(config.contexts)),
                "sums": Out(self.sums_layout),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        v = self.config.lanes
        shared = self.config.shares_weights and self.config.contexts > 1
        plane, seat, word = Signal(range(PLANES)), Signal.like(self.seat), Signal.like(self.word)
        chosen = Signal(data.ArrayLayout(signed(self.config.sum_width), v))
        joining, place = Signal(), Signal.like(self.word)
        final = (seat == self.last_seat) if shared else Const(1)
        m.d.comb += [
            self.goes_on.eq(~self.planes | (plane == PLANES - 1)),
            joining.eq(self.valid & ~self.goes_on),
            self.joined.eq(joining & (word == self.parts - 1)),
            place.eq(Mux(self.goes_on, self.word, word)),
            chosen.eq(self.group.as_value().word_select(place, len(chosen.as_value()))),
            self.finished.eq(
                self.planes & self.breaks & ((self.seat == self.last_seat) if shared else Const(1))
            ),
        ]
        with m.If(joining):
            m.d.sync += word.eq(Mux(self.joined, 0, word + 1))
        with m.If(self.joined):
            m.d.sync += [plane.eq(plane + final), seat.eq(Mux(final, 0, seat + 1))]
        with m.If(self.finished):
            m.d.sync += plane.eq(0)
        address = Cat(place, Mux(self.goes_on, self.seat, seat)) if shared else place
        kept = memory.Memory(shape=self.sums_layout.size, depth=1 << max(1, len(address)), init=[])
        m.submodules.kept = kept
        read, write = kept.read_port(domain="comb"), kept.write_port()
        before = data.View(self.sums_layout, read.data)
        adds = self.planes & (plane != 0)
        for k in range(v):
            tripled = before[k] + (before[k] << 1)
            m.d.comb += self.sums[k].eq(chosen[k] + Mux(adds, tripled, 0))
        m.d.comb += [
            read.addr.eq(address),
            write.addr.eq(address),
            write.en.eq(joining),
            write.data.eq(self.sums),
        ]
        return m
