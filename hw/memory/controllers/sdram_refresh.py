"""When an SDR SDRAM is refreshed: at once while idle, put off while reads wait."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class RefreshTimer(wiring.Component):
    """Counts the refreshes that are due.

    Parameters
    ----------
    interval
        Cycles from one refresh that falls due to the next.
    postponed
        Refreshes put off, at most, while the memory is in use; up to 7.
    first
        Refreshes due from the start, for the initialisation.

    Members
    -------
    idle : In
        Nobody waits for the memory.
    counting : In
        The power-up pause is over: from now on refreshes fall due.
    refreshed : In
        A refresh is made in this cycle.
    tick : Out
        One cycle in `interval`.
    owed : Out
        Some refresh is due.
    due : Out
        Refresh now, until nothing is owed; one cycle behind the count.
    """

    idle: In(1)
    counting: In(1)
    refreshed: In(1)
    tick: Out(1)
    owed: Out(1)
    due: Out(1)

    def __init__(self, *, interval: int, postponed: int, first: int) -> None:
        self.interval, self.postponed, self.first = interval, postponed, first
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = Signal(range(self.interval))
        m.d.sync += [
            count.eq(Mux(self.tick, 0, count + 1)),
            self.tick.eq(count == self.interval - 2),
        ]
        debt = Signal(4, init=self.first)
        due = self.tick & self.counting
        with m.If(due & ~self.refreshed):
            m.d.sync += debt.eq(debt + 1)
        with m.Elif(self.refreshed & ~due):
            m.d.sync += debt.eq(debt - 1)
        m.d.comb += self.owed.eq(debt != 0)
        m.d.sync += self.due.eq((debt >= self.postponed) | (self.idle & self.owed))
        return m
