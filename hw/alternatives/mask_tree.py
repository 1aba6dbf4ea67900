"""A dot-product row as a tree whose leaves are masks, and whose adders take the +1s."""

from amaranth.hdl import C, Module, Value
from amaranth.utils import ceil_log2

from setun.hw.array.dot import DotRow
from setun.hw.pipeline import delayed
from setun.hw.technology import GENERIC, Technology, masked


class MaskTree(DotRow):
    """`DotRow` as a tree of adders, a register behind every second one.

    n leaves have n +1s and n - 1 adders: the last +1 is added to the sum.
    """

    def __init__(self, columns: int, technology: Technology = GENERIC) -> None:
        super().__init__(columns, technology)
        self.levels = ceil_log2(columns)

    @property
    def latency(self) -> int:
        """Cycles from operands to sum."""
        return (self.levels + 1) // 2 + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        terms: list[Value] = []
        ones: list[Value] = []
        for k in range(self.columns):
            weight = self.weights.word_select(k, 2)
            terms.append(masked(self.codes.word_select(k, 8), weight))
            ones.append(weight)
        for level in range(self.levels):
            terms = [
                self._add(m, a, b, 2 << level, C(1, 2), ones.pop(), f"sum{level}_{k}")
                for k, (a, b) in enumerate(zip(terms[::2], terms[1::2], strict=True))
            ]
            if level % 2 == 0:
                terms = [delayed(m, t, 1, f"l{level}_sum{k}") for k, t in enumerate(terms)]
                ones = [delayed(m, one, 1, f"l{level}_one{k}") for k, one in enumerate(ones)]
        m.d.sync += self.o.eq(terms[0] + ones[0].all())
        return m
