"""Positions of a pass's tokens in their conversations."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.hw.attention.sizes import position_shape
from setun.hw.seats import number, pass_layout


class Positions(wiring.Component):
    """How far each context has come, and where each seat's token stands.

    Members
    -------
    begin : In(1)
        Strobe: a pass's tokens are fed; one each of their contexts.
    seating : In
        Stable from the next cycle on; see `setun.hw.seats.pass_layout`.
    o : Out(position per seat)
        From as many cycles later as there are seats.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        place = position_shape(config)
        super().__init__(
            {
                "begin": In(1),
                "seating": In(pass_layout(config)),
                "o": Out(data.ArrayLayout(place, config.contexts)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        place = position_shape(c)
        latest = Array(Signal(place, name=f"latest{k}") for k in range(c.contexts))
        seat, going = Signal(number(c.contexts)), Signal()
        who = self.seating.seats[seat]
        here = Signal(place)
        m.d.comb += here.eq(Mux(who.fresh, 0, latest[who.context] + 1))
        with m.If(self.begin):
            m.d.sync += [going.eq(1), seat.eq(0)]
        with m.Elif(going):
            m.d.sync += [self.o[seat].eq(here), latest[who.context].eq(here), seat.eq(seat + 1)]
            with m.If(seat == self.seating.last):
                m.d.sync += going.eq(0)
        return m
