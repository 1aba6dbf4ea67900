"""The request of a GENERATE command on its way to the core."""

from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.hw.link.signature import GENERATE, Ties

# The payload as it arrives, first byte lowest; greedy takes a whole byte there.
_REQUEST = data.StructLayout({"count": 16, "greedy": 8, "inv_temperature": 32, "seed": 32})
REQUEST_BYTES = _REQUEST.size // 8


def request_bytes(ties: Ties) -> int:
    """Bytes of a request with tokens that end a text before it."""
    return REQUEST_BYTES + ties.ends * ties.token_bytes


class GenerateRequest(wiring.Component):
    """Collects the bytes of a request, then hands it to the core.

    Parameters
    ----------
    ties
        To the core.

    Members
    -------
    begin : In(1)
        Strobe: another request comes.
    byte : In(8), left : In(8), take : In(1)
        Bytes of the request, one per cycle of `take`, and how many are left with it.
    good : Out(1)
        The 11 bytes taken last are a request: count ≥ 1, greedy 0 or 1.
    start : In(1)
        Strobe: hand them to the core, which takes them at once.
    generate : Out(stream), end_tokens : Out
        See `Link`.
    """

    def __init__(self, ties: Ties) -> None:
        super().__init__(
            {
                "begin": In(1),
                "byte": In(8),
                "left": In(8),
                "take": In(1),
                "good": Out(1),
                "start": In(1),
                "generate": Out(stream.Signature(GENERATE)),
                "end_tokens": Out(8 * ties.token_bytes * ties.ends),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        request, ends = Signal(_REQUEST), Signal()
        bits, known = request.as_value(), self.end_tokens
        with m.If(self.take):
            with m.If(self.left > REQUEST_BYTES):
                m.d.sync += [known.eq(Cat(known[8:], self.byte)), ends.eq(1)]
            with m.Else():
                m.d.sync += bits.eq(Cat(bits[8:], self.byte))
        with m.If(self.begin):
            m.d.sync += ends.eq(0)
        m.d.comb += [
            self.good.eq((request.count != 0) & (request.greedy <= 1)),
            self.generate.valid.eq(self.start),
            self.generate.payload.count.eq(request.count),
            self.generate.payload.greedy.eq(request.greedy),
            self.generate.payload.inv_temperature.eq(request.inv_temperature),
            self.generate.payload.seed.eq(request.seed),
            self.generate.payload.ends.eq(ends),
        ]
        return m
