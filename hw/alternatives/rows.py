"""`python -m setun.hw.alternatives.rows [STRUCTURE ...]`: cost and speed of a ternary row."""

from collections.abc import Callable

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.errors import SetunError
from setun.hw.alternatives.mask_tree import MaskTree
from setun.hw.alternatives.select_tree import SelectTree
from setun.hw.alternatives.shared_rows import ROWS, SUM_WIDTH, SharedRows, accumulate
from setun.hw.array.dot import DotRow
from setun.hw.fpga.families import ECP5
from setun.hw.fpga.flow.unit import unit_report
from setun.programs import line, parser, run, table

HEADINGS = (
    "structure",
    "unit",
    "LUT4/MAC",
    "after packing",
    "FF",
    "MHz",
    "latency",
    "stop",
)
COLUMNS = 32
SEEDS = (1, 2)

STRUCTURES: dict[str, Callable[[int], DotRow]] = {
    "select, negate, add in a tree": SelectTree,
    "mask, add in a tree": MaskTree,
    "mask, add in a tree, CCU2C": lambda n: MaskTree(n, ECP5.technology),
    "chains of 8": DotRow,
    "chains of 4, CCU2C": lambda n: DotRow(n, ECP5.technology, chain=4),
    "chains of 8, CCU2C": lambda n: DotRow(n, ECP5.technology),
    "chains of 16, CCU2C": lambda n: DotRow(n, ECP5.technology, chain=16),
}
SHARED: dict[str, tuple[int, Callable[[int], SharedRows]]] = {
    "sums of pairs, a multiplexer each": (32, lambda n: SharedRows(n, 2, tables=False)),
    "tables of pairs, two banks": (32, lambda n: SharedRows(n, 2, tables=True)),
    "tables of triples, one bank": (24, lambda n: SharedRows(n, 3, tables=True)),
}


class Rows(wiring.Component):
    """Rows that share the codes, each with an accumulator that `first` restarts."""

    def __init__(self, row: Callable[[int], DotRow]) -> None:
        self.rows = [row(COLUMNS) for _ in range(ROWS)]
        self.latency = self.rows[0].latency + 1
        super().__init__(
            {
                "codes": In(8 * COLUMNS),
                "weights": In(2 * COLUMNS * ROWS),
                "first": In(1),
                "o": Out(SUM_WIDTH * ROWS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for k, row in enumerate(self.rows):
            m.submodules[f"row{k}"] = row
            m.d.comb += [
                row.codes.eq(self.codes),
                row.weights.eq(self.weights.word_select(k, 2 * COLUMNS)),
            ]
        m.d.comb += self.o.eq(Cat(*accumulate(m, self.rows, self.first, self.rows[0].technology)))
        return m


def units(name: str) -> dict[str, tuple[Callable[[], DotRow | Rows | SharedRows], int]]:
    """What is measured of a structure: a component, and its MACs a cycle."""
    if name in SHARED:
        columns, rows = SHARED[name]
        return {f"{ROWS} rows of {columns}": (lambda: rows(columns), columns * ROWS)}
    row = STRUCTURES[name]
    return {
        "row": (lambda: row(COLUMNS), COLUMNS),
        f"{ROWS} rows": (lambda: Rows(row), COLUMNS * ROWS),
    }


def main() -> None:
    """Print the table of docs/performance.md: a row alone, then eight with accumulators."""
    options, known = parser(__doc__), (*STRUCTURES, *SHARED)
    options.add_argument(
        "structures",
        nargs="*",
        metavar="STRUCTURE",
        default=known,
        help=f"of {', '.join(map(repr, known))}",
    )
    wanted = options.parse_args().structures
    for name in wanted:
        if name not in known:
            raise SetunError("structure", "must be one that --help names", name)
    print(table(HEADINGS, ()), flush=True)
    for name in wanted:
        for unit, (factory, macs) in units(name).items():
            runs = [unit_report(factory, "unit", seed=seed) for seed in SEEDS]
            cost = runs[0]
            lut4, comb = cost["lut4"] / macs, cost["comb"] / macs
            speed = ", ".join(f"{run['fmax_mhz']:.0f}" for run in runs)
            part = factory()
            stop = part.stop if isinstance(part, SharedRows) else 0
            figures = f"{lut4:.1f}", f"{comb:.1f}", cost["ff"], speed, part.latency, stop
            print(line([name, unit, *figures]), flush=True)


if __name__ == "__main__":
    run(main)
