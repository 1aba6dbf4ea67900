"""The generations that may be under way, one of each context."""

from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.hw.link.signature import GENERATE

# The payload as it arrives, first byte lowest; greedy takes a whole byte there.
_REQUEST = data.StructLayout({"count": 16, "greedy": 8, "inv_temperature": 32, "seed": 32})


class GenerationControl(wiring.Component):
    """Hands GENERATE requests to the core, and knows which contexts have one.

    Parameters
    ----------
    contexts
        Of the core.

    Members
    -------
    context : In(2)
        Whom `start` and `active` are about; below `contexts`.
    byte : In(8), take : In(1)
        Bytes of the request, one per cycle of `take`.
    good : Out(1)
        The 11 bytes taken last are a request: count ≥ 1, greedy 0 or 1.
    start : In(1)
        Strobe: hand them to the core, which takes them at once.
    ended : In(1), whose : In(2)
        Strobe: the core reported the end of a context's generation.
    active : Out(1), any_active : Out(1)
        From `start` to `ended`: of this context, of any.
    generate : Out(stream)
        See `Link`.
    """

    def __init__(self, contexts: int) -> None:
        self.contexts = contexts
        super().__init__(
            {
                "context": In(2),
                "byte": In(8),
                "take": In(1),
                "good": Out(1),
                "start": In(1),
                "ended": In(1),
                "whose": In(2),
                "active": Out(1),
                "any_active": Out(1),
                "generate": Out(stream.Signature(GENERATE)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        request = Signal(_REQUEST)
        bits = request.as_value()
        active = Signal(4)
        with m.If(self.take):
            m.d.sync += bits.eq(Cat(bits[8:], self.byte))
        m.d.comb += [
            self.good.eq((request.count != 0) & (request.greedy <= 1)),
            self.generate.valid.eq(self.start),
            self.generate.payload.count.eq(request.count),
            self.generate.payload.greedy.eq(request.greedy),
            self.generate.payload.inv_temperature.eq(request.inv_temperature),
            self.generate.payload.seed.eq(request.seed),
            self.active.eq(active.bit_select(self.context, 1)),
            self.any_active.eq(active.any()),
        ]
        for k in range(self.contexts):
            with m.If(self.ended & (self.whose == k)):
                m.d.sync += active[k].eq(0)
            with m.If(self.start & (self.context == k)):
                m.d.sync += active[k].eq(1)
        return m
