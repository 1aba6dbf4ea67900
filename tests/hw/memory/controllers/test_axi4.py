"""AXI4 master and control registers against cocotbext-axi; throughput against latency."""

import gc
import json
from pathlib import Path

import pytest

from bench.harness import Parts
from bench.runner import run_bench
from hw.memory.controllers.axi4_path import Axi4Path
from setun.hw.memory.controllers.axi4 import Axi4Reader
from setun.hw.memory.controllers.axi4_lite import ControlRegisters

RAM = 1 << 20
# The last one's bytes begin in a page of an uneven number, and are no power of two.
MASTERS = [
    {"data_bits": 64, "capacity": 1 << 16, "base": 0x12_3456_0000, "outstanding": 4},
    {"data_bits": 256, "capacity": 1 << 17, "base": 0, "outstanding": 16},
    {"data_bits": 512, "capacity": 5 << 14, "base": 0xFF_0001_3000, "outstanding": 1},
]
PATHS = [
    {"data_bits": 256, "weight_bits": 256, "burst": 32, "depth": 128, "outstanding": 16},
    {"data_bits": 256, "weight_bits": 416, "burst": 32, "depth": 512, "outstanding": 16},
]
LATENCIES = [10, 50, 100, 200, 400]
COUNTERS = 13
CYCLES = 52_000


def test_axi4(tmp_path: Path) -> None:
    masters, paths = [], []
    units: dict[str, Axi4Reader | Axi4Path | ControlRegisters] = {
        "registers": ControlRegisters(COUNTERS)
    }
    for about in MASTERS:
        name = f"m{about['data_bits']}"
        units[name] = reader = Axi4Reader(
            about["data_bits"], about["capacity"], outstanding=about["outstanding"]
        )
        masters.append({"name": name, "ram": RAM, "burst": reader.burst, **about})
    for about in PATHS:
        name = f"p{about['data_bits']}to{about['weight_bits']}"
        units[name] = Axi4Path(**about)
        paths.append({"name": name, **about})
    report = tmp_path / "rates.json"
    run_bench(
        Parts(units),
        "hw.memory.controllers.bench_axi4",
        parameters={
            "masters": masters,
            "paths": paths,
            "latencies": LATENCIES,
            "cycles": CYCLES,
            "counters": COUNTERS,
            "report": str(report),
        },
        seed=43,
    )
    rates = {name: list(found.values()) for name, found in json.loads(report.read_text()).items()}
    print("\nbeats per cycle at latencies", LATENCIES)
    for name, found in rates.items():
        print(name, [round(rate, 4) for rate in found])
    assert rates["p256to256"][1] >= 0.97 and CYCLES * 0.97 >= 50_000
    assert min(rates["p256to416"]) >= 0.97


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize(
    ("change", "said"),
    [({"data_bits": 96}, "96"), ({"capacity": 2048}, "2048"), ({"outstanding": 0}, "outstanding")],
)
def test_axi4_refuses(change: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Axi4Reader(**({"data_bits": 256, "capacity": 1 << 20} | change))
    gc.collect()  # while Amaranth's warning of a component never used is filtered
