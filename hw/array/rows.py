"""All rows of the ternary array: packed weights and a vector's codes to dot products."""

from typing import Any

from amaranth.hdl import Cat, DomainRenamer, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.hw.array.dot import STEPS, DotRow, row_latency
from setun.hw.array.weights import unpack, unpack_weights
from setun.hw.pipeline import delayed
from setun.hw.technology import GENERIC, Technology

FAST = "fast"  # domain of rows that are used several times a cycle
FAST_STEPS = 1  # additions between registers there
MOVES = 1  # cycles there that operands have to reach the rows, from one end of the FPGA maybe


def needs_fast_clock(config: ChipConfig, technology: Technology) -> bool:
    """Whether a chip has the domain `FAST`; the compiled simulator computes the same without."""
    return config.pump > 1 and technology.fast_clock


def rows_latency(config: ChipConfig) -> int:
    """`Rows.latency` of a chip."""
    if config.pump == 1:
        return row_latency(config.columns)
    return 2 + -(-(MOVES + row_latency(config.columns, FAST_STEPS)) // 2)


class Rows(wiring.Component):
    """Q dot products a cycle: as many rows, or half of them on a clock of twice the speed.

    With `config.pump` = 2 a row computes row k of the word's first half, then row k of its
    second half (double pumping). The domain `FAST` has an edge with every edge of `sync` and
    one halfway between; nothing but registers lies between the two domains, and one multiplexer.

    Members
    -------
    packed : In(config.weight_bits)
        A weight word.
    codes : In(code_bits * P)
        Whole numbers, column 0 in the lowest bits, one cycle behind their weights.
    o : Out(sum_bits * Q)
        Dot products, signed, row 0 in the lowest bits, `latency` cycles behind the codes.
    """

    def __init__(self, config: ChipConfig, technology: Technology = GENERIC) -> None:
        self.config, self.technology = config, technology
        self.fast = needs_fast_clock(config, technology)
        p, width = config.columns, config.numerics.code_bits
        self.sum_bits = width + ceil_log2(p)
        super().__init__(
            {
                "packed": In(config.weight_bits),
                "codes": In(width * p),
                "o": Out(self.sum_bits * config.rows),
            }
        )

    def _row(self, steps: int = STEPS) -> DotRow:
        c = self.config
        return DotRow(c.columns, self.technology, width=c.numerics.code_bits, steps=steps)

    @property
    def latency(self) -> int:
        """Cycles from codes to dot products."""
        return rows_latency(self.config)

    def _sum(self, row: int) -> Value:
        return self.o.word_select(row, self.sum_bits)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.fast:
            self._pumped(m)
            return m
        c = self.config
        weights = Signal(2 * c.macs, reset_less=True)
        m.d.sync += weights.eq(unpack_weights(m, c, self.packed))
        for k in range(c.rows):
            m.submodules[f"row{k}"] = row = self._row()
            m.d.comb += [
                row.codes.eq(self.codes),
                row.weights.eq(weights.word_select(k, 2 * c.columns)),
                self._sum(k).eq(delayed(m, row.o, self.latency - row.latency, f"o{k}")),
            ]
        return m

    def _pumped(self, m: Module) -> None:
        c = self.config
        d: Any = m.d[FAST]
        # `turn` and `seen` differ in the first half of a cycle, so `second` is high in the other.
        turn, seen = Signal(name="turn"), Signal(name="seen")
        second = Signal(name="second")
        m.d.sync += turn.eq(~turn)
        d += [seen.eq(turn), second.eq(turn ^ seen)]

        word = Signal(c.weight_bits, reset_less=True)
        m.d.sync += word.eq(self.packed)
        size, count = c.weight_bits // 2, c.macs // 2
        half = Signal(size, reset_less=True)
        weights = Signal(2 * count, reset_less=True)
        codes = Signal.like(self.codes, reset_less=True)
        d += [half.eq(Mux(second, word[size:], word[:size]))]
        arrived = Signal.like(half)
        d += [arrived.eq(half), weights.eq(unpack(m, c.packing, arrived, count))]
        held = Signal.like(codes)
        with m.If(second):
            d += held.eq(self.codes)
        d += codes.eq(held)
        for k in range(c.rows // 2):
            row = self._row(FAST_STEPS)
            m.submodules[f"row{k}"] = DomainRenamer(FAST)(row)
            m.d.comb += [row.codes.eq(codes), row.weights.eq(weights.word_select(k, 2 * c.columns))]
            # The sum of the first half comes with an edge of `sync` behind it.
            now: Value = row.o
            if (MOVES + row.latency) % 2:
                late = Signal.like(row.o, name=f"late{k}", reset_less=True)
                d += late.eq(now)
                now = late
            before = Signal.like(row.o, name=f"before{k}", reset_less=True)
            d += before.eq(now)
            both = Signal(2 * len(row.o), name=f"both{k}", reset_less=True)
            m.d.sync += both.eq(Cat(before, now))
            m.d.comb += [
                self._sum(k).eq(both[: self.sum_bits]),
                self._sum(c.rows // 2 + k).eq(both[self.sum_bits :]),
            ]
