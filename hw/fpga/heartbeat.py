"""A board's LED that tells a chip at rest, one at work, and one that is dead."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

FASTER = 3  # blinks at work are 2**FASTER times as many


class Heartbeat(wiring.Component):
    """Blinks about once a second, eight times as fast for a while after any work.

    Parameters
    ----------
    clock_hz
        Of the domain `sync`. A blink takes the power of two of cycles next to a second.
    counter
        That runs freely, at least as wide; None for one here.

    Members
    -------
    working : In(1)
        The chip is at work; seen for a half to a whole blink, however short it was.
    led : Out(1)
    """

    working: In(1)
    led: Out(1)

    def __init__(self, clock_hz: float, counter: Value | None = None) -> None:
        self.bits = max(FASTER + 1, round(clock_hz).bit_length() - 1)
        if clock_hz > 2 ** (self.bits + 0.5):
            self.bits += 1
        assert counter is None or len(counter) >= self.bits
        self.counter = counter
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = Signal(self.bits) if self.counter is None else self.counter[: self.bits]
        before = Signal()
        working, seen, shown = Signal(), Signal(), Signal()
        if self.counter is None:
            m.d.sync += count.eq(count + 1)
        m.d.sync += [
            before.eq(count[-1]),
            working.eq(self.working),
            seen.eq(seen | working),
            self.led.eq(Mux(shown, count[-1 - FASTER], count[-1])),
        ]
        with m.If(count[-1] != before):
            m.d.sync += [shown.eq(seen | working), seen.eq(0)]
        return m
