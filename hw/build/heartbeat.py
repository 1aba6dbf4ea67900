"""A board's LED that tells a chip at rest, one at work, and one that is dead."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

FASTER = 3  # blinks at work are 2**FASTER times as many


class Heartbeat(wiring.Component):
    """Blinks about once a second, eight times as fast for a while after any work.

    Parameters
    ----------
    clock_hz
        Of the domain `sync`. A blink takes the power of two of cycles next to a second.

    Members
    -------
    working : In(1)
        The chip is at work; seen for a half to a whole blink, however short it was.
    led : Out(1)
    """

    working: In(1)
    led: Out(1)

    def __init__(self, clock_hz: float) -> None:
        self.bits = max(FASTER + 1, round(clock_hz).bit_length() - 1)
        if clock_hz > 2 ** (self.bits + 0.5):
            self.bits += 1
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count, before = Signal(self.bits), Signal()
        working, seen, shown = Signal(), Signal(), Signal()
        m.d.sync += [
            count.eq(count + 1),
            before.eq(count[-1]),
            working.eq(self.working),
            seen.eq(seen | working),
            self.led.eq(Mux(shown, count[-1 - FASTER], count[-1])),
        ]
        with m.If(count[-1] != before):
            m.d.sync += [shown.eq(seen | working), seen.eq(0)]
        return m
