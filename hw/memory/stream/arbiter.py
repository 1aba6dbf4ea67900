"""Two readers of one memory controller."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.hw.memory.controllers.port import MAX_BEATS, read_request

REQUESTS = 16  # on their way at once


class ReadArbiter(wiring.Component):
    """Joins the requests of two readers; beats come back in the order of the requests.

    Parameters
    ----------
    beat
        Bits of a beat.
    address_bits
        Of a beat's number in the memory.

    Members
    -------
    first, second : In(stream of `read_request`)
        Requests; `first` goes first where both wait.
    read : Out(stream of `read_request`), i : In(stream of `beat` bits)
        To `read` and `o` of the controller.
    to_first, to_second : Out(stream of `beat` bits)
        Each reader's beats.

    Latency: none. Throughput: one request, one beat a cycle; a reader that does not take its
    beats holds up the other.
    """

    def __init__(self, beat: int, address_bits: int) -> None:
        request, beats = read_request(address_bits), stream.Signature(beat)
        super().__init__(
            {
                "first": In(stream.Signature(request)),
                "second": In(stream.Signature(request)),
                "read": Out(stream.Signature(request)),
                "i": In(beats),
                "to_first": Out(beats),
                "to_second": Out(beats),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = ceil_log2(MAX_BEATS + 1)
        m.submodules.owed = owed = fifo.SyncFIFO(width=1 + width, depth=REQUESTS)
        # An offer stays whose it is until it is taken.
        second, chosen, offered = Signal(), Signal(), Signal()
        given, valid = Signal.like(self.read.payload), Signal()
        m.d.comb += [
            second.eq(Mux(offered, chosen, ~self.first.valid)),
            given.eq(Mux(second, self.second.payload.as_value(), self.first.payload.as_value())),
            valid.eq(Mux(second, self.second.valid, self.first.valid)),
            self.read.payload.eq(given),
            self.read.valid.eq(valid & owed.w_rdy),
            self.first.ready.eq(self.read.ready & owed.w_rdy & ~second),
            self.second.ready.eq(self.read.ready & owed.w_rdy & second),
            owed.w_en.eq(self.read.valid & self.read.ready),
            owed.w_data.eq(Cat(second, given.beats)),
        ]
        m.d.sync += [offered.eq(self.read.valid & ~self.read.ready), chosen.eq(second)]

        # Whose the beats are that come, and how many have come.
        whose, beats = owed.r_data[0], owed.r_data[1:]
        count, taken = Signal(width), Signal()
        m.d.comb += [
            self.to_first.payload.eq(self.i.payload),
            self.to_second.payload.eq(self.i.payload),
            self.to_first.valid.eq(self.i.valid & ~whose),
            self.to_second.valid.eq(self.i.valid & whose),
            self.i.ready.eq(Mux(whose, self.to_second.ready, self.to_first.ready)),
            taken.eq(self.i.valid & self.i.ready),
            owed.r_en.eq(taken & (count + 1 == beats)),
        ]
        with m.If(taken):
            m.d.sync += count.eq(Mux(owed.r_en, 0, count + 1))
        return m
