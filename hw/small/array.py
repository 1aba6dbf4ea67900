"""Ternary array of the small core: ten rows, one column a cycle."""

import numpy as np
from amaranth.hdl import Array, Cat, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.firmware.numerics.functions import Ints
from setun.firmware.numerics.ternary import TRIT_DECODE, TRITS_PER_BYTE
from setun.hw.arith.bits import pipe, rom
from setun.hw.technology import GENERIC, Technology

BYTES = 2  # of a weight word
ROWS = BYTES * TRITS_PER_BYTE
HALF = 16  # bits of a sum in a multiplier's accumulator


def decoded() -> Ints:
    """Every byte's five codes, two bits each: whether it counts, whether it is negative."""
    trits = TRIT_DECODE.astype(np.int64)
    bits = (trits != 0) | (trits == 2).astype(np.int64) << 1
    return np.asarray((bits << (2 * np.arange(TRITS_PER_BYTE))).sum(1), np.int64)


class RowSums(wiring.Component):
    """Sums of ten rows over a vector's codes.

    Parameters
    ----------
    technology
        Some of the sums lie in the accumulators of its multipliers, if they are wide enough.

    Members
    -------
    start : In(1)
        Strobe while not `busy`: sums begin at 0 and go over `columns` codes.
    columns : In
    give_up : In(1)
        Ends what is under way within 2 cycles; the sums mean nothing then.
    busy : Out(1)
        From the cycle after `start` until the sums stand.
    take : Out(1)
        The next weight word is read in this cycle; `weights` has it in the next.
    column : Out
        Address of the code that `code` has in the next cycle.
    weights : In(16), code : In(signed(8))
    row : In, o : Out(signed)
        One of the sums.

    Latency: `columns` + 4 cycles from `start`.
    """

    def __init__(self, config: ChipConfig, technology: Technology = GENERIC) -> None:
        self.config, self.technology = config, technology
        self.multipliers = technology.accumulators if config.sum_width <= HALF else 0
        self.columns_range = range(config.max_columns + 1)
        super().__init__(
            {
                "start": In(1),
                "columns": In(self.columns_range),
                "give_up": In(1),
                "busy": Out(1),
                "take": Out(1),
                "column": Out(range(config.max_columns)),
                "weights": In(8 * BYTES),
                "code": In(signed(8)),
                "row": In(range(ROWS)),
                "o": Out(signed(config.sum_width)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        column = Signal(self.columns_range)
        taken, looked = Signal(), Signal()
        m.d.comb += self.column.eq(column)
        m.d.sync += [taken.eq(self.take), looked.eq(taken)]
        m.d.comb += self.busy.eq(self.take | taken | looked)
        with m.If(self.start):
            m.d.sync += [self.take.eq(1), column.eq(0)]
        with m.Elif(self.take):
            m.d.sync += column.eq(column + 1)
            with m.If((column + 1 == self.columns) | self.give_up):
                m.d.sync += self.take.eq(0)
        code = pipe(m, self.code, "code_then", signed(8))
        trits: list[Value] = []
        for k in range(BYTES):
            word = self.weights.word_select(k, 8)
            found = rom(m, decoded(), 2 * TRITS_PER_BYTE, word, name=f"trits{k}")
            trits += [found.word_select(j, 2) for j in range(TRITS_PER_BYTE)]
        sums: list[Value] = []
        for k in range(self.multipliers):
            pair = trits[2 * k : 2 * k + 2]
            sums += self.technology.accumulate(
                m,
                f"multiplier{k}",
                [looked & trit[0] for trit in pair],
                [trit[1] for trit in pair],
                Cat(code, code[-1].replicate(HALF - 8)),
                self.start,
            )
        for k, trit in enumerate(trits[len(sums) :], len(sums)):
            total = Signal(signed(self.config.sum_width), name=f"sum{k}")
            term = Signal(signed(8), name=f"term{k}")
            counts, negative = trit[0], trit[1]
            m.d.comb += term.eq((code & counts.replicate(8)) ^ negative.replicate(8))
            with m.If(self.start):
                m.d.sync += total.eq(0)
            with m.Elif(looked):
                joined = Cat(negative, total).as_signed() + Cat(negative, term).as_signed()
                m.d.sync += total.eq(joined >> 1)
            sums.append(total)
        m.d.comb += self.o.eq(Array(sums)[self.row])
        return m
