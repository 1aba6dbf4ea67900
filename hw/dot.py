"""Dot product of int8 codes with ternary weights: one row of the array."""

from typing import Literal

from amaranth.hdl import C, Cat, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

Technology = Literal["generic", "ecp5"]


class DotRow(wiring.Component):
    """One row's dot product of int8 codes with ternary weights, one set per cycle.

    A weight is two bits, (nonzero, negative). -x is ~x + 1: the leaves complement, and every +1
    enters the adder tree as a carry, so negation costs no adder of its own.

    Members
    -------
    codes : In(8 * columns), weights : In(2 * columns)
        Column 0 in the lowest bits.
    o : Out(signed(8 + log2 columns))
        The sum, at most 127 * columns in magnitude.

    Latency `latency` cycles (a register behind every second adder), throughput one per cycle.
    """

    def __init__(self, columns: int, technology: Technology = "generic") -> None:
        self.columns = columns
        self.technology = technology
        self.levels = ceil_log2(columns)
        super().__init__(
            {
                "codes": In(8 * columns),
                "weights": In(2 * columns),
                "o": Out(signed(8 + self.levels)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from operands to sum."""
        return (self.levels + 1) // 2 + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        terms: list[Value] = []
        carries: list[Value] = []
        for k in range(self.columns):
            nonzero, negative = self.weights[2 * k], self.weights[2 * k + 1]
            x = self.codes.word_select(k, 8)
            terms.append(((x ^ negative.replicate(8)) & nonzero.replicate(8)).as_signed())
            carries.append(nonzero & negative)
        for level in range(self.levels):
            sums: list[Value] = []
            for a, b in zip(terms[::2], terms[1::2], strict=True):
                # An adder with a carry input is one carry chain, one bit longer.
                total = Signal(signed(10 + level), name=f"l{level}_total{len(sums)}")
                carry = carries.pop()
                m.d.comb += total.eq(Cat(C(1, 1), a).as_signed() + Cat(carry, b).as_signed())
                sums.append(total[1:].as_signed())
            if level % 2 == 0:
                terms = [self._register(m, s, f"l{level}_sum{k}") for k, s in enumerate(sums)]
                carries = [self._register(m, c, f"l{level}_one{k}") for k, c in enumerate(carries)]
            else:
                terms = sums
        # A tree of n leaves has n - 1 adders: the last +1 is added here.
        m.d.sync += self.o.eq(terms[0] + Cat(carries[0], C(0, 1)).as_signed())
        return m

    @staticmethod
    def _register(m: Module, value: Value, name: str) -> Value:
        held = Signal(value.shape(), name=name, reset_less=True)
        m.d.sync += held.eq(value)
        return held
