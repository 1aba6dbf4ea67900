"""`python -m setun.hw.explore.rows [STRUCTURE ...]`: cost and speed of a ternary row."""

import sys
from collections.abc import Callable

from amaranth.hdl import C, Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.hw.build import unit_report
from setun.hw.dot import DotRow, add_masked
from setun.hw.explore.mask_tree import MaskTree
from setun.hw.explore.select_tree import SelectTree
from setun.hw.pipeline import delayed

COLUMNS, ROWS, SUM_WIDTH = 32, 8, 20
SEEDS = (1, 2)

STRUCTURES: dict[str, Callable[[int], DotRow]] = {
    "select, negate, add in a tree": SelectTree,
    "mask, add in a tree": MaskTree,
    "mask, add in a tree, CCU2C": lambda n: MaskTree(n, "ecp5"),
    "chains of 8": DotRow,
    "chains of 4, CCU2C": lambda n: DotRow(n, "ecp5", chain=4),
    "chains of 8, CCU2C": lambda n: DotRow(n, "ecp5"),
    "chains of 16, CCU2C": lambda n: DotRow(n, "ecp5", chain=16),
}


class Rows(wiring.Component):
    """Rows that share the codes, each with an accumulator that `first` restarts."""

    def __init__(self, row: Callable[[int], DotRow]) -> None:
        self.rows = [row(COLUMNS) for _ in range(ROWS)]
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
        adds = delayed(m, ~self.first, self.rows[0].latency, "adds")
        for k, row in enumerate(self.rows):
            m.submodules[f"row{k}"] = row
            total = Signal(signed(SUM_WIDTH), name=f"total{k}", reset_less=True)
            product = Signal.like(total, name=f"product{k}")
            m.d.comb += [
                row.codes.eq(self.codes),
                row.weights.eq(self.weights.word_select(k, 2 * COLUMNS)),
                product.eq(row.o),
                self.o.word_select(k, SUM_WIDTH).eq(total),
            ]
            kept = Cat(adds, C(0, 1))
            m.d.sync += total.eq(
                add_masked(m, product, total, kept, C(0, 2), row.technology, f"next{k}")
            )
        return m


def main() -> None:
    """Print the table of docs/performance.md: a row alone, then eight with accumulators."""
    print("| structure | unit | LUT4/MAC | after packing | FF | MHz |\n|---|---|---|---|---|---|")
    for name in sys.argv[1:] or STRUCTURES:
        row = STRUCTURES[name]
        units = {"row": (lambda r=row: r(COLUMNS), 1), "8 rows": (lambda r=row: Rows(r), ROWS)}
        for unit, (factory, rows) in units.items():
            runs = [unit_report(factory, "unit", seed=seed) for seed in SEEDS]
            cost, macs = runs[0], COLUMNS * rows
            lut4, comb = cost["lut4"] / macs, cost["comb"] / macs
            speed = ", ".join(f"{run['fmax_mhz']:.0f}" for run in runs)
            print(
                f"| {name} | {unit} | {lut4:.1f} | {comb:.1f} | {cost['ff']} | {speed} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
