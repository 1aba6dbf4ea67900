"""Dot-product rows against integer arithmetic, and their technologies against each other."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bench.cells import ecp5_cells
from bench.harness import Parts
from bench.runner import run_bench, to_verilog
from setun.hw.alternatives.mask_tree import MaskTree
from setun.hw.alternatives.select_tree import SelectTree
from setun.hw.array.dot import DotRow
from setun.hw.fpga.families import ECP5
from setun.hw.fpga.flow.toolchain import find_tool
from setun.hw.pipeline import delayed
from setun.sim.simulator.dot import SIMULATOR, dot_verilog

COLUMNS = (1, 2, 4, 8, 16, 32, 64)
POSITIVE, NEGATIVE = 0b01, 0b11


def vectors(rng: np.random.Generator, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes and weight pairs: corners, then random ones."""
    shape = (40, columns)
    top = np.where(rng.random(shape) < 0.5, -127, 127)
    alternating = np.tile([127, -127], (40, columns))[:, :columns]
    signs = np.where(top > 0, POSITIVE, NEGATIVE)
    corners = [
        (codes, np.full(shape, pair))
        for codes in (np.full(shape, 127), np.full(shape, -127), 0 * top, top, alternating)
        for pair in (0b00, POSITIVE, NEGATIVE, 0b10)
    ]
    corners += [(top, signs), (top, signs ^ 0b10), (alternating, signs)]
    anything = (rng.integers(-127, 128, (400, columns)), rng.integers(0, 4, (400, columns)))
    codes, pairs = zip(*corners, anything, strict=True)
    return np.concatenate(codes), np.concatenate(pairs)


def check_rows(units: dict[str, DotRow], cells: str = "") -> None:
    rng = np.random.default_rng(31)
    arrays: dict[str, np.ndarray] = {}
    for n in sorted({unit.columns for unit in units.values()}):
        arrays[f"codes{n}"], arrays[f"pairs{n}"] = vectors(rng, n)
    described = [
        {"name": name, "columns": u.columns, "latency": u.latency, "width": len(u.o)}
        for name, u in units.items()
    ]
    parameters = {"rows": described}
    run_bench(
        Parts(units),
        "hw.array.bench_dot",
        parameters=parameters,
        arrays=arrays,
        seed=31,
        cells=cells,
    )


def test_generic_rows() -> None:
    check_rows({f"row{n}": DotRow(n) for n in COLUMNS})


def test_simulator_rows() -> None:
    cells = "".join(map(dot_verilog, COLUMNS))
    check_rows({f"row{n}": DotRow(n, SIMULATOR) for n in COLUMNS}, cells)


def test_ecp5_rows() -> None:
    check_rows({f"row{n}": DotRow(n, ECP5.technology) for n in (2, 4, 8)}, ecp5_cells())


@pytest.mark.slow
@pytest.mark.parametrize("columns", [1, 16, 32, 64])
def test_other_ecp5_rows(columns: int) -> None:
    check_rows({"row": DotRow(columns, ECP5.technology)}, ecp5_cells())


def test_alternatives() -> None:
    units = {
        "select": SelectTree(16),
        "mask": MaskTree(16),
        "mask_ecp5": MaskTree(4, ECP5.technology),
        "short": DotRow(4, ECP5.technology, chain=2),
        "short_generic": DotRow(16, chain=4),
        "long": DotRow(32, chain=16),
    }
    check_rows(units, ecp5_cells())


class Miter(wiring.Component):
    """`same`: two rows give the same sum, or a code is outside [-127, 127]."""

    def __init__(self, a: DotRow, b: DotRow) -> None:
        self.rows = (a, b)
        shapes = {name: In(len(getattr(a, name))) for name in ("codes", "weights")}
        super().__init__({**shapes, "same": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b = self.rows
        outside = 0
        for k in range(a.columns):
            outside |= self.codes.word_select(k, 8) == 0x80
        for name, row in zip("ab", self.rows, strict=True):
            m.submodules[name] = row
            m.d.comb += [row.codes.eq(self.codes), row.weights.eq(self.weights)]
        ignored = delayed(m, outside, a.latency, "outside")
        m.d.comb += self.same.eq(ignored | (a.o == b.o))
        return m


def proof(a: DotRow, b: DotRow, work: Path) -> subprocess.CompletedProcess[str]:
    """Yosys' SAT solver on every sequence of inputs, from every state of the registers."""
    (work / "miter.v").write_text(to_verilog(Miter(a, b), "miter") + ecp5_cells())
    # A pipeline without feedback: what it held before is gone after its latency.
    commands = [
        "read_verilog -formal miter.v",
        "prep -flatten -top miter",
        "opt -full",
        f"sat -verify -prove same 1 -seq {a.latency + 1} -prove-skip {a.latency} -set rst 0",
    ]
    command = [*find_tool("yosys").command, "-p", "; ".join(commands)]
    return subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize(
    ("columns", "chain"),
    [(1, 8), (2, 8), (4, 8), (4, 2), (8, 8), pytest.param(16, 8, marks=pytest.mark.slow)],
)
def test_technologies_are_equivalent(columns: int, chain: int, tmp_path: Path) -> None:
    rows = (DotRow(columns, ECP5.technology, chain=chain), DotRow(columns, chain=chain))
    ran = proof(*rows, tmp_path)
    assert "SAT proof finished - no model found: SUCCESS!" in ran.stdout, ran.stdout[-2000:]
    assert ran.returncode == 0


def test_proof_finds_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # +1 for every nonzero weight
    monkeypatch.setattr("setun.hw.fpga.ecp5.cells.FIRST_CARRY", 0x000A)
    ran = proof(DotRow(2, ECP5.technology), DotRow(2), tmp_path)
    assert ran.returncode != 0 and "model found" in ran.stdout, ran.stdout[-2000:]
