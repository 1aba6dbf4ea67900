"""What is slow in a small chip: one counter for the LED, the watchdog and silences on the line."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Pulse(wiring.Component):
    """A free-running counter.

    Parameters
    ----------
    bits
        Its width.
    exponents
        Of the strobes' periods, below `bits`.

    Members
    -------
    count : Out(bits)
    strobes : Out(1 per exponent)
        One cycle in 2**exponent.
    """

    def __init__(self, bits: int, exponents: tuple[int, ...]) -> None:
        self.exponents = exponents
        super().__init__({"count": Out(bits), "strobes": Out(len(exponents))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.count.eq(self.count + 1)
        for k, exponent in enumerate(self.exponents):
            before = Signal(name=f"before{k}")
            m.d.sync += before.eq(self.count[exponent])
            m.d.comb += self.strobes[k].eq(self.count[exponent] ^ before)
        return m


class Deadline(wiring.Component):
    """Whether something has lasted for one to two periods of a strobe.

    Members
    -------
    busy : In(1)
        It goes on.
    strobe : In(1)
    late : Out(1)
        In the cycle of the second strobe.
    """

    busy: In(1)
    strobe: In(1)
    late: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        seen = Signal()
        m.d.comb += self.late.eq(self.busy & self.strobe & seen)
        m.d.sync += seen.eq(self.busy & (seen | self.strobe))
        return m
