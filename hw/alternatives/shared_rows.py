"""Rows that share more than codes: sums of pairs of columns, or tables of sums in RAM.

What they look up is one of a few sums of neighbouring columns, or its opposite, or nothing; so a
row has half or a third of the additions. Weights come in the form that the look-up takes.
"""

from collections.abc import Callable, Sequence
from itertools import product

from amaranth.hdl import Array, C, Cat, Module, Signal, Value, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.hw.array.dot import DotRow
from setun.hw.fpga.families import ECP5
from setun.hw.pipeline import delayed
from setun.hw.technology import Technology, masked

ROWS, SUM_WIDTH = 8, 20

Pattern = tuple[int, ...]  # a weight for each column of a table
Read = Callable[[Value], Value]  # from an entry's number to the entry


def patterns(columns: int) -> list[Pattern]:
    """What a table of `columns` columns holds: all signs but the opposites and nothing at all."""
    every = product((0, 1, -1), repeat=columns)
    return [p for p in every if any(p) and next(w for w in p if w) > 0]


def encode(weights: Sequence[int]) -> int:
    """A look-up of these columns: nonzero, negative, and the entry's number from bit 2."""
    if not any(weights):
        return 0
    negative = next(w for w in weights if w) < 0
    pattern = tuple(-w if negative else w for w in weights)
    return 1 | negative << 1 | patterns(len(weights)).index(pattern) << 2


def accumulate(
    m: Module, rows: Sequence[DotRow], first: Value, technology: Technology
) -> list[Value]:
    """An accumulator behind each row, which `first` restarts with its operands' sum."""
    adds = delayed(m, ~first, rows[0].latency, "adds")
    totals: list[Value] = []
    for k, row in enumerate(rows):
        total = Signal(signed(SUM_WIDTH), name=f"total{k}", reset_less=True)
        term = Signal.like(total, name=f"product{k}")
        m.d.comb += term.eq(row.o)
        kept = Cat(adds, C(0, 1))
        m.d.sync += total.eq(technology.add_masked(m, term, total, kept, C(0, 2), f"next{k}"))
        totals.append(total)
    return totals


class SharedRows(wiring.Component):
    """`ROWS` rows with accumulators, each of `columns` columns taken `together` at a time.

    Parameters
    ----------
    columns
        A power of two times `together`.
    together
        2 or 3.
    tables
        Sums in distributed RAM, in two banks if they fit its 16 entries; else (pairs only) in
        registers, with a multiplexer in every row.
    technology
        As of `DotRow`.

    Members
    -------
    codes : In(8 * columns)
        int8. With tables they are those that are filled in.
    lookups : In(ROWS * columns / together * (2 + entry bits))
        `encode` of each row's columns.
    first : In(1)
        Restart the accumulators with this cycle's sums.
    write : In(1), entry : In(4)
        Only tables: write entry `entry` of every table, its bank in the highest bit. It may be
        looked up 2 cycles later.
    bank : In(1)
        Only tables with two banks: the one that lookups mean.
    o : Out(ROWS sums of SUM_WIDTH)
    """

    def __init__(
        self, columns: int, together: int, *, tables: bool, technology: Technology = ECP5.technology
    ) -> None:
        self.columns, self.together, self.tables = columns, together, tables
        self.count = columns // together
        self.technology = technology
        self.patterns = patterns(together)
        self.entry_bits = ceil_log2(len(self.patterns))
        self.width = 8 + ceil_log2(together)
        self.lookup_bits = 2 + self.entry_bits
        self.banks = 2 if tables and 2 * len(self.patterns) <= 16 else 1
        self.rows = [DotRow(self.count, technology, width=self.width) for _ in range(ROWS)]
        # From operands to `o`: registers behind the look-up's operands and its result.
        self.latency = 2 + self.rows[0].latency + 1
        # Cycles a block of codes that the only bank is filled and cannot be read.
        self.stop = len(self.patterns) if tables and self.banks == 1 else 0
        super().__init__(
            {
                "codes": In(8 * columns),
                "lookups": In(ROWS * self.count * self.lookup_bits),
                "first": In(1),
                **({"write": In(1), "entry": In(4)} if tables else {}),
                **({"bank": In(1)} if self.banks == 2 else {}),
                "o": Out(SUM_WIDTH * ROWS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lookups = delayed(m, self.lookups, 1, "lookups")
        reads = [self._stored(m, k) if self.tables else self._sums(m, k) for k in range(self.count)]
        for k, row in enumerate(self.rows):
            m.submodules[f"row{k}"] = row
            for column, read in enumerate(reads):
                look = lookups.word_select(k * self.count + column, self.lookup_bits)
                found = Signal(signed(self.width), name=f"found{k}_{column}", reset_less=True)
                m.d.sync += found.eq(read[k](look[2:]))
                m.d.comb += [
                    row.codes.word_select(column, self.width).eq(found),
                    row.weights.word_select(column, 2).eq(delayed(m, look[:2], 1, f"w{k}{column}")),
                ]
        first = delayed(m, self.first, 2, "first")
        totals = accumulate(m, self.rows, first, self.technology)
        m.d.comb += self.o.eq(Cat(*totals))
        return m

    def _codes(self, number: int) -> list[Value]:
        first = number * self.together
        return [self.codes.word_select(first + k, 8).as_signed() for k in range(self.together)]

    def _sums(self, m: Module, number: int) -> list[Read]:
        """A multiplexer of the sums of some columns for every row."""
        codes, sums = self._codes(number), []
        for k, pattern in enumerate(self.patterns):
            total = Signal(signed(self.width), name=f"sum{number}_{k}", reset_less=True)
            terms = [c if w > 0 else -c for c, w in zip(codes, pattern, strict=True) if w]
            m.d.sync += total.eq(sum(terms[1:], terms[0]))
            sums.append(total)
        choice = Array(sums)
        return [lambda entry: choice[entry]] * ROWS

    def _stored(self, m: Module, number: int) -> list[Read]:
        """A port of a RAM of the sums of some columns for every row."""
        held = memory.Memory(shape=signed(self.width), depth=self.banks << self.entry_bits, init=[])
        m.submodules[f"table{number}"] = held
        kinds = Array(
            [
                sum((1 | (w < 0) << 1) << 2 * k for k, w in enumerate(pattern) if w)
                for pattern in self.patterns
            ]
        )
        kind = Signal(2 * self.together, name=f"kind{number}")
        m.d.comb += kind.eq(kinds[self.entry[: self.entry_bits]])
        total: Value = C(0, signed(self.width))
        for k, code in enumerate(self._codes(number)):
            weight = kind.word_select(k, 2)
            total = total + masked(code, weight) + weight.all()
        write = held.write_port()
        m.d.sync += [write.addr.eq(self.entry), write.data.eq(total), write.en.eq(self.write)]

        def port() -> Read:
            read = held.read_port(domain="comb")

            def at(entry: Value) -> Value:
                bank = delayed(m, self.bank, 1, "bank") if self.banks == 2 else C(0, 0)
                m.d.comb += read.addr.eq(Cat(entry, bank))
                return read.data

            return at

        return [port() for _ in range(ROWS)]
