"""Ternary array, its rows and the weight unpackers against integer arithmetic."""

import numpy as np
import pytest

from bench.harness import ArrayHarness, Parts
from bench.runner import run_bench
from setun.firmware.config import ChipConfig
from setun.firmware.numerics.options import EXACT, Numerics
from setun.hw.array.dot import DotRow

COLUMNS = (1, 2, 4, 8, 16, 32, 64)


def test_rows() -> None:
    rng = np.random.default_rng(21)
    arrays: dict[str, np.ndarray] = {}
    described = []
    units = {f"row{n}": DotRow(n) for n in COLUMNS}
    for name, unit in units.items():
        n = unit.columns
        codes = rng.integers(-127, 128, (400, n))
        weights = rng.integers(-1, 2, (400, n))
        top = np.where(rng.random((60, n)) < 0.5, -127, 127)
        # Corners: extreme codes times zeros, ones, minus ones, the signs and their opposite.
        corners = (0 * top, 0 * top + 1, 0 * top - 1, np.sign(top), -np.sign(top))
        for k, corner in enumerate(corners):
            codes[k * 60 : (k + 1) * 60], weights[k * 60 : (k + 1) * 60] = top, corner
        codes[:6], codes[60:66], codes[120:126] = 127, 127, -127
        arrays |= {f"{name}_codes": codes, f"{name}_weights": weights}
        described.append({"name": name, "latency": unit.latency, "width": len(unit.o)})
    run_bench(
        Parts(units),
        "hw.array.bench_array",
        testcase="rows",
        parameters={"rows": described},
        arrays=arrays,
        seed=21,
    )


@pytest.mark.parametrize(
    ("columns", "rows", "contexts", "memory"),
    [
        (4, 4, 1, "onchip"),
        (32, 8, 2, "onchip"),
        (8, 4, 4, "sdram-16"),
        pytest.param(8, 16, 4, "onchip", marks=pytest.mark.slow),
        pytest.param(4, 8, 2, "sdram-16", marks=pytest.mark.slow),
        pytest.param(16, 4, 1, "sdram-16", marks=pytest.mark.slow),
        pytest.param(64, 8, 1, "onchip", marks=pytest.mark.slow),
    ],
)
def test_matvecs(columns: int, rows: int, contexts: int, memory: str) -> None:
    check_matvecs(columns, rows, contexts, memory, Numerics())


@pytest.mark.parametrize(
    ("columns", "rows", "contexts", "memory", "chunk"),
    [
        (4, 4, 1, "onchip", 4),
        (8, 4, 4, "sdram-16", 16),
        (8, 4, 1, "onchip", EXACT),
        (1, 8, 1, "onchip", 1),
        pytest.param(32, 8, 2, "onchip", 128, marks=pytest.mark.slow),
        pytest.param(4, 16, 2, "onchip", 16, marks=pytest.mark.slow),
        pytest.param(16, 4, 1, "sdram-16", 1024, marks=pytest.mark.slow),
        pytest.param(16, 4, 2, "sdram-16", EXACT, marks=pytest.mark.slow),
    ],
)
def test_fp8_matvecs(columns: int, rows: int, contexts: int, memory: str, chunk: int) -> None:
    check_matvecs(columns, rows, contexts, memory, Numerics(activation="fp8", accumulate=chunk))


@pytest.mark.parametrize(
    ("columns", "rows", "contexts", "memory", "numerics"),
    [
        (16, 4, 1, "onchip", Numerics()),
        (16, 4, 4, "sdram-16", Numerics()),
        (16, 8, 2, "onchip", Numerics(activation="fp8", accumulate=16)),
        pytest.param(32, 8, 2, "sdram-16", Numerics(), marks=pytest.mark.slow),
    ],
)
def test_planes(columns: int, rows: int, contexts: int, memory: str, numerics: Numerics) -> None:
    """Planes between ternary matvecs, on slots that are kept; each row group's scales."""
    check_matvecs(columns, rows, contexts, memory, numerics, five_trits=1)


def check_matvecs(
    columns: int, rows: int, contexts: int, memory: str, numerics: Numerics, **options: int
) -> None:
    longest = 6 * columns
    config = ChipConfig(
        columns=columns,
        rows=rows,
        lanes=min(4, columns),
        max_columns=longest,
        contexts=contexts,
        memory=memory,
        numerics=numerics,
        **options,
    )
    harness = ArrayHarness(config)
    parameters = {
        "columns": columns,
        "rows": rows,
        "contexts": contexts,
        "shared": config.shares_weights,
        "max_columns": longest,
        "sum_width": harness.array.sum_width,
        "panel": config.panel,
        "scale_bits": config.five_trits * rows * config.vector.width,
        "matvecs": 4,
        "numerics": numerics.to_dict(),
        "config": config.to_dict(),
    }
    run_bench(harness, "hw.array.bench_array", testcase="matvecs", parameters=parameters, seed=22)
