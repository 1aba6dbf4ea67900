"""Cells that units ask for by name, where synthesis finds worse ones or none."""

from amaranth.hdl import C, Cat, Module, Signal, Value, signed


def masked(x: Value, weight: Value) -> Value:
    """x, ~x or 0, as the weight's bits (nonzero, negative) say."""
    size = len(x)
    return ((x.as_unsigned() ^ weight[1].replicate(size)) & weight[0].replicate(size)).as_signed()


class Technology:
    """Cells that every tool understands; what an FPGA or a simulator knows better, it replaces.

    Members
    -------
    fast_clock
        Whether rows of the array may run on a clock of twice the speed.
    single_port_ram
        Whether there is `single_port`; such RAM starts with anything.
    accumulators
        Multipliers whose accumulators may hold sums of the small core: `accumulate`.
    """

    fast_clock = True
    single_port_ram = False
    accumulators = 0

    def add_masked(
        self, m: Module, a: Value, b: Value, weight: Value, one: Value, name: str
    ) -> Value:
        """a + (b, ~b or 0 as weight's nonzero and negative say), + 1 if both bits of `one` are set.

        `a` and `b` are signed and of one width, as is the sum.
        """
        total = Signal(signed(len(a)), name=name)
        # One bit longer instead of a third operand: one carry chain.
        m.d.comb += Cat(Signal(name=f"{name}_half"), total).eq(
            Cat(C(1, 1), a).as_signed() + Cat(one.all(), masked(b, weight)).as_signed()
        )
        return total

    def dot(
        self, m: Module, codes: Value, weights: Value, columns: int, width: int
    ) -> Value | None:
        """A row's sum of codes times weights, combinational; None where adders make it."""
        return None

    def single_port(
        self, m: Module, name: str, *, select: Value, write: Value, address: Value, data: Value
    ) -> Value:
        """A block of 16K words of 16 bits; the word of the latest cycle with `select`."""
        raise NotImplementedError

    def accumulate(
        self,
        m: Module,
        name: str,
        add: list[Value],
        negative: list[Value],
        code: Value,
        clear: Value,
    ) -> list[Value]:
        """Two sums of 16 bits in the accumulators of one multiplier, which idles.

        In a cycle with `add` the code is added or, if `negative`, taken away; `clear` comes
        without.
        """
        raise NotImplementedError


GENERIC = Technology()
