"""Beats on their way back from an SDR SDRAM: to the weight stream or to the link."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.hw.pipeline import delayed


class ReadReturn(wiring.Component):
    """Takes each beat of `dq_i` that was asked for `delay` cycles ago.

    Parameters
    ----------
    dq
        Data pins.
    delay
        Cycles from `wanted` until the register behind `dq_i` holds the beat.
    depth
        Beats that wait for `o`; whoever sets `wanted` sees to it that no more come.

    Members
    -------
    wanted, link : In
        A beat is asked for in this cycle, by the weight stream or by the link.
    dq_i : In
        Pins.
    o : Out(stream)
        Beats of the weight stream, 2 cycles after their register holds them.
    word : Out(stream of 32 bits)
        Beats of the link joined to a word, the first one lowest; one at a time.
    """

    def __init__(self, dq: int, *, delay: int, depth: int) -> None:
        self.dq, self.delay, self.depth = dq, delay, depth
        super().__init__(
            {
                "wanted": In(1),
                "link": In(1),
                "dq_i": In(dq),
                "o": Out(stream.Signature(dq)),
                "word": Out(stream.Signature(32)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat = Signal(self.dq)
        m.d.sync += beat.eq(self.dq_i)
        to_queue = delayed(m, self.wanted & ~self.link, self.delay, "to_queue", reset=True)
        to_link = delayed(m, self.wanted & self.link, self.delay, "to_link", reset=True)

        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=self.dq, depth=self.depth)
        m.d.comb += [
            queue.w_data.eq(beat),
            queue.w_en.eq(to_queue),
            self.o.payload.eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
        ]

        last: Value = to_link
        if self.dq < 32:
            half = Signal()
            m.d.sync += half.eq(half ^ to_link)
            last = to_link & half
        with m.If(to_link):
            m.d.sync += self.word.payload.eq(Cat(self.word.payload, beat)[-32:])
        with m.If(last):
            m.d.sync += self.word.valid.eq(1)
        with m.Elif(self.word.ready):
            m.d.sync += self.word.valid.eq(0)
        return m
