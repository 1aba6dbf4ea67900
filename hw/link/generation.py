"""The one generation that may be under way."""

from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.hw.link.signature import GENERATE

# The payload as it arrives, first byte lowest; greedy takes a whole byte there.
_REQUEST = data.StructLayout({"count": 16, "greedy": 8, "inv_temperature": 32, "seed": 32})


class GenerationControl(wiring.Component):
    """Holds a GENERATE request until the core takes it, and a STOP until the core can obey.

    Members
    -------
    byte : In(8), take : In(1)
        Bytes of the request, one per cycle of `take`; only while `active` is low.
    good : Out(1)
        The 11 bytes taken last are a request: count ≥ 1, greedy 0 or 1.
    start : In(1)
        Strobe: offer them to the core.
    halt : In(1)
        Strobe: end the generation.
    ended : In(1)
        Strobe: the core reported the end.
    active : Out(1)
        From `start` to `ended`.
    generating : In(1), generate : Out(stream), stop : Out(1)
        See `Link`.
    """

    byte: In(8)
    take: In(1)
    good: Out(1)
    start: In(1)
    halt: In(1)
    ended: In(1)
    active: Out(1)
    generating: In(1)
    generate: Out(stream.Signature(GENERATE))
    stop: Out(1)

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        request = Signal(_REQUEST)
        bits = request.as_value()
        wanted = Signal()
        with m.If(self.take):
            m.d.sync += bits.eq(Cat(bits[8:], self.byte))
        m.d.comb += [
            self.good.eq((request.count != 0) & (request.greedy <= 1)),
            self.generate.payload.count.eq(request.count),
            self.generate.payload.greedy.eq(request.greedy),
            self.generate.payload.inv_temperature.eq(request.inv_temperature),
            self.generate.payload.seed.eq(request.seed),
            self.stop.eq(
                (wanted & self.generating & ~self.generate.valid) | (self.halt & ~self.active)
            ),
        ]
        with m.If(self.generate.ready):
            m.d.sync += self.generate.valid.eq(0)
        with m.If(self.start):
            m.d.sync += [self.generate.valid.eq(1), self.active.eq(1)]
        with m.If(self.halt & self.active):
            m.d.sync += wanted.eq(1)
        with m.Elif(self.stop | self.ended):
            m.d.sync += wanted.eq(0)
        with m.If(self.ended):
            m.d.sync += self.active.eq(0)
        return m
