"""The request of a GENERATE command on its way to the core."""

from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.hw.link.signature import GENERATE

# The payload as it arrives, first byte lowest; greedy takes a whole byte there.
_REQUEST = data.StructLayout({"count": 16, "greedy": 8, "inv_temperature": 32, "seed": 32})


class GenerateRequest(wiring.Component):
    """Collects the bytes of a request, then hands it to the core.

    Members
    -------
    byte : In(8), take : In(1)
        Bytes of the request, one per cycle of `take`.
    good : Out(1)
        The 11 bytes taken last are a request: count ≥ 1, greedy 0 or 1.
    start : In(1)
        Strobe: hand them to the core, which takes them at once.
    generate : Out(stream)
        See `Link`.
    """

    byte: In(8)
    take: In(1)
    good: Out(1)
    start: In(1)
    generate: Out(stream.Signature(GENERATE))

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        request = Signal(_REQUEST)
        bits = request.as_value()
        with m.If(self.take):
            m.d.sync += bits.eq(Cat(bits[8:], self.byte))
        m.d.comb += [
            self.good.eq((request.count != 0) & (request.greedy <= 1)),
            self.generate.valid.eq(self.start),
            self.generate.payload.count.eq(request.count),
            self.generate.payload.greedy.eq(request.greedy),
            self.generate.payload.inv_temperature.eq(request.inv_temperature),
            self.generate.payload.seed.eq(request.seed),
        ]
        return m
