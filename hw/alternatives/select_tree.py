"""A dot-product row as it is first written: select, then add in a tree."""

from amaranth.hdl import Module, Mux, Value

from setun.hw.array.dot import DotRow
from setun.hw.pipeline import tree, tree_latency


class SelectTree(DotRow):
    """`DotRow` whose columns negate with an adder of their own; a register behind every adder."""

    @property
    def latency(self) -> int:
        """Cycles from operands to sum."""
        return tree_latency(self.columns) + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        terms: list[Value] = []
        for k in range(self.columns):
            x = self.codes.word_select(k, 8).as_signed()
            weight = self.weights.word_select(k, 2)
            terms.append(Mux(weight[0], Mux(weight[1], -x, x), 0))
        m.d.sync += self.o.eq(tree(m, terms, lambda a, b: a + b, "sum"))
        return m
