"""Dot product of a vector's codes with ternary weights: one row of the array."""

import numpy as np
from amaranth.hdl import C, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from numpy.typing import ArrayLike

from setun.firmware.numerics.functions import Ints
from setun.hw.pipeline import delayed
from setun.hw.technology import GENERIC, Technology, masked

CHAIN = 8  # best on ECP5: a sum of 8 columns fits 11 bits, which with the carry fill 6 CCU2C
STEPS = 2  # additions between registers, if not told


def _levels(columns: int, chain: int) -> int:
    return chain + ceil_log2(columns // chain)


def _stage(level: int, steps: int) -> int:
    """Cycles before the addition `level`; the mask, level 0, is not counted as one."""
    return max(0, level - 1) // steps


def row_latency(columns: int, steps: int = STEPS) -> int:
    """`DotRow.latency` of a row with the usual chains."""
    return _stage(_levels(columns, min(columns, CHAIN)) - 1, steps) + 1


class DotRow(wiring.Component):
    """One row's dot product of whole-number codes with ternary weights, one set per cycle.

    A weight is two bits, (nonzero, negative); (0, 1) counts as 0. Chains of additions, of
    `chain` columns each, feed a tree. -x is ~x + 1, and every addition has room for one such
    +1: that of its own column, or in the tree that of the first column of the chain on its
    right, which is no addition but a mask.

    Parameters
    ----------
    columns
        A power of two.
    technology
        Cells of the additions, or of the whole sum; same function, same latency.
    chain
        Columns that a chain adds up, a power of two.
    width
        Bits of a code, sign included.
    steps
        Additions between registers.

    Members
    -------
    codes : In(width * columns), weights : In(2 * columns)
        Column 0 in the lowest bits; codes signed, below 2**(width - 1) in magnitude.
    o : Out(signed(width + log2 columns))
        The sum, below 2**(width - 1) * columns in magnitude.

    Latency `latency` cycles (by default a register behind every second addition), throughput one
    per cycle. Later columns of a chain are delayed here: synthesis merges the delayed codes of rows
    that share them.
    """

    def __init__(
        self,
        columns: int,
        technology: Technology = GENERIC,
        *,
        chain: int = CHAIN,
        width: int = 8,
        steps: int = STEPS,
    ) -> None:
        self.columns = columns
        self.steps = steps
        self.width = width
        self.technology = technology
        self.chain = min(columns, chain)
        self.levels = _levels(columns, self.chain)
        super().__init__(
            {
                "codes": In(width * columns),
                "weights": In(2 * columns),
                "o": Out(signed(width + ceil_log2(columns))),
            }
        )

    def model(self, codes: ArrayLike, weights: ArrayLike) -> Ints:
        """Sums [..] of whole-number codes [.., columns] times two-bit weights."""
        pairs = np.asarray(weights, np.int64)
        return (np.asarray(codes, np.int64) * (pairs & 1) * (1 - (pairs & 2))).sum(-1)

    @property
    def latency(self) -> int:
        """Cycles from operands to sum."""
        return self._stage(self.levels - 1) + 1

    def _stage(self, level: int) -> int:
        return _stage(level, self.steps)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total = self.technology.dot(m, self.codes, self.weights, self.columns, self.width)
        if total is not None:
            m.d.sync += self.o.eq(delayed(m, total, self.latency - 1, "total"))
            return m
        chains = range(self.columns // self.chain)
        sums = [self._first(m, self.chain * k) for k in chains]
        for level in range(1, self.levels):
            late = self._stage(level)
            if late != self._stage(level - 1):
                sums = [delayed(m, s, 1, f"l{level}_sum{k}") for k, s in enumerate(sums)]
            if level < self.chain:
                sums = [self._next(m, s, self.chain * k + level, late) for k, s in enumerate(sums)]
            else:
                joined = len(chains) // len(sums)  # chains in each sum
                sums = [
                    self._join(m, sums[k : k + 2], self.chain * joined * (k + 1), late)
                    for k in range(0, len(sums), 2)
                ]
        m.d.sync += self.o.eq(sums[0])
        return m

    def _code(self, m: Module, column: int, late: int) -> Value:
        code = self.codes.word_select(column, self.width)
        return delayed(m, code, late, f"code{column}").as_signed()

    def _weight(self, m: Module, column: int, late: int) -> Value:
        return delayed(m, self.weights.word_select(column, 2), late, f"weight{column}")

    def _add(
        self, m: Module, a: Value, b: Value, columns: int, weight: Value, one: Value, name: str
    ) -> Value:
        """`Technology.add_masked` in the width that a sum of `columns` columns needs."""
        top = (1 << (self.width - 1)) - 1
        shape = signed((top * columns).bit_length() + 1)
        wide_a, wide_b = Signal(shape, name=f"{name}_a"), Signal(shape, name=f"{name}_b")
        m.d.comb += [wide_a.eq(a), wide_b.eq(b)]
        return self.technology.add_masked(m, wide_a, wide_b, weight, one, name)

    def _first(self, m: Module, column: int) -> Value:
        """Term of a chain's first column, but for its +1 in all chains except the first."""
        code, weight = self._code(m, column, 0), self._weight(m, column, 0)
        if column == 0:
            return self._add(m, C(0, 1), code, 1, weight, weight, "sum0")
        return masked(code, weight)

    def _next(self, m: Module, before: Value, column: int, late: int) -> Value:
        code, weight = self._code(m, column, late), self._weight(m, column, late)
        columns = column % self.chain + 1
        return self._add(m, before, code, columns, weight, weight, f"sum{column}")

    def _join(self, m: Module, sums: list[Value], middle: int, late: int) -> Value:
        """Sum of two; `middle` is the first column of the second."""
        a, b = sums
        one = self._weight(m, middle, late)
        columns = 2 * (middle & -middle)
        return self._add(m, a, b, columns, C(1, 2), one, f"tree{columns}_{middle}")
