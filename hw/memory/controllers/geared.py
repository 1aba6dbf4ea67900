"""A memory controller on the part's own clock, behind beats of several of the part's."""

from typing import Any

from amaranth.hdl import Cat, Const, DomainRenamer, Module, Mux, Signal, Value
from amaranth.lib import fifo, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import Out

from setun.hw.array.rows import FAST
from setun.hw.memory.controllers.port import MAX_BEATS, controller_members

REQUESTS = 4  # on their way across
WORDS = 16  # likewise; more than a FIFO's pointers take there and back


class GearedController(wiring.Component):
    """A controller in the domain `fast`, of which `gear` beats are one in `sync`.

    Nothing is asked of how the clocks stand to each other: requests and words cross in FIFOs with
    Gray-coded pointers. Requests of both sides cross in one, so that the order in which they were
    taken is that in which the inner controller gets them.

    Parameters
    ----------
    inner
        Of `setun.hw.memory.controllers.port`, and with `pins`; elaborated in `fast`.
    gear
        A power of two, such that a beat here has 32 bits or more.

    Members
    -------
    pins : Out
        The inner controller's, in `fast`. The others are those of `controller_members`.

    Attributes
    ----------
    burst
        Beats that no read crosses a boundary of: what the inner controller takes at once.

    Latency: that of the inner controller and 4 to 6 cycles of either clock on each way.
    Throughput: a beat a cycle of `sync`, or a beat in `gear` cycles of `fast`, whichever is less.
    """

    def __init__(self, inner: Any, gear: int) -> None:
        self.inner, self.gear = inner, gear
        self.burst = min(inner.burst, MAX_BEATS) // gear
        self.beat = gear * len(inner.o.payload)
        address = len(inner.read.payload.address)
        capacity = (1 << address) * len(inner.o.payload) // 8
        members = controller_members(self.beat, capacity)
        super().__init__(members | {"pins": Out(inner.pins.signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.inner = DomainRenamer(FAST)(self.inner)
        wiring.connect(m, wiring.flipped(self.pins), self.inner.pins)
        m.submodules.ready = FFSynchronizer(self.inner.ready, self.ready)
        self._requests(m)
        self._words(m)
        self._answers(m)
        return m

    def _requests(self, m: Module) -> None:
        """Reads first, as the controller itself takes them."""
        inner, read, bus = self.inner, self.read, self.bus_req
        reads, accesses = Value.cast(read.payload), Value.cast(bus.payload)
        width = max(len(reads), len(accesses))
        m.submodules.requests = requests = fifo.AsyncFIFO(
            width=1 + width, depth=REQUESTS, w_domain="sync", r_domain=FAST
        )
        m.d.comb += [
            requests.w_en.eq(read.valid | bus.valid),
            requests.w_data.eq(Cat(read.valid, Mux(read.valid, reads, accesses))),
            read.ready.eq(requests.w_rdy),
            bus.ready.eq(requests.w_rdy & ~read.valid),
        ]
        is_read, payload = requests.r_data[0], requests.r_data[1:]
        asked = Signal.like(read.payload)
        steps = Const(0, self.gear.bit_length() - 1)
        m.d.comb += [
            asked.as_value().eq(payload),
            inner.read.payload.address.eq(Cat(steps, asked.address)),
            inner.read.payload.beats.eq(Cat(steps, asked.beats)),
            inner.bus_req.payload.as_value().eq(payload),
            inner.read.valid.eq(requests.r_rdy & is_read),
            inner.bus_req.valid.eq(requests.r_rdy & ~is_read),
            requests.r_en.eq(Mux(is_read, inner.read.ready, inner.bus_req.ready)),
        ]

    def _words(self, m: Module) -> None:
        """Beats of the part joined, the first one lowest."""
        beats = self.inner.o
        m.submodules.words = words = fifo.AsyncFIFO(
            width=self.beat, depth=WORDS, w_domain=FAST, r_domain="sync"
        )
        part, held = Signal(range(self.gear)), Signal(self.beat - len(beats.payload))
        last = part == self.gear - 1
        m.d.comb += [
            words.w_data.eq(Cat(held, beats.payload)),
            words.w_en.eq(beats.valid & last),
            beats.ready.eq(words.w_rdy | ~last),
            self.o.payload.eq(words.r_data),
            self.o.valid.eq(words.r_rdy),
            words.r_en.eq(self.o.ready),
        ]
        with m.If(beats.valid & beats.ready):
            m.d[FAST] += [part.eq(part + 1), held.eq(Cat(held, beats.payload)[-len(held) :])]

    def _answers(self, m: Module) -> None:
        """Words that the link reads."""
        m.submodules.answers = answers = fifo.AsyncFIFO(
            width=32, depth=2, w_domain=FAST, r_domain="sync"
        )
        wiring.connect(m, self.inner.bus_rsp, answers.w_stream)
        wiring.connect(m, answers.r_stream, wiring.flipped(self.bus_rsp))
