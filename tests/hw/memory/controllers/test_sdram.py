"""The SDRAM controller on models of its parts: bursts, single words, refresh, efficiency."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.harness import Parts
from bench.runner import run_bench
from hw.memory.controllers.sdram_harness import SdramSystem, SequentialReader
from setun.hw.fpga.flow.unit import unit_report
from setun.hw.memory.controllers.sdram import SdramController
from setun.hw.memory.controllers.sdram_timing import PARTS

# Part, clock in MHz, round trip, CAS latency (None: lowest), stall of both sides.
SYSTEMS = [
    ("IS42S16160-7", 100, 1, None, 0.3),
    ("MT48LC4M32B2-7", 133, 2, None, 0.3),
    ("AS4C32M16SB-7", 143, 3, None, 0.0),
    ("IS42S32160-75", 30, 1, 3, 0.6),
]
READERS = [
    ("IS42S16160-7", 100, 1),
    ("IS42S16160-7", 143, 2),
    ("MT48LC4M32B2-7", 100, 1),
    ("MT48LC4M32B2-7", 143, 2),
    ("W9825G6-6I", 50, 1),
]
DEPTH = 1 << 12  # beats written; reads go anywhere


def systems() -> tuple[Parts, list[dict[str, Any]]]:
    units, about = {}, []
    for k, (name, mhz, round_trip, cas, stall) in enumerate(SYSTEMS):
        units[f"s{k}"] = SdramSystem(
            PARTS[name], mhz * 1e6, round_trip=round_trip, cas_latency=cas, depth=DEPTH
        )
        about.append({"name": f"s{k}", "part": name, "clock_hz": mhz * 1e6, "stall": stall})
    return Parts(units), about


def test_sdram() -> None:
    component, about = systems()
    parameters = {"systems": about, "rounds": 12, "depth": DEPTH, "pages": 6}
    for case in ("plays", "full_pages_under_stall"):
        run_bench(
            component,
            "hw.memory.controllers.bench_sdram",
            parameters=parameters,
            testcase=case,
            seed=41,
        )


@pytest.mark.slow
@pytest.mark.parametrize("seed", [42, 43])
def test_sdram_for_long(seed: int) -> None:
    component, about = systems()
    parameters = {"systems": about, "rounds": 60, "depth": DEPTH, "pages": 30}
    for case in ("plays", "full_pages_under_stall"):
        run_bench(
            component,
            "hw.memory.controllers.bench_sdram",
            parameters=parameters,
            testcase=case,
            seed=seed,
        )


def test_sdram_efficiency(tmp_path: Path) -> None:
    units, about = {}, []
    for k, (name, mhz, round_trip) in enumerate(READERS):
        system = SdramSystem(PARTS[name], mhz * 1e6, round_trip=round_trip, depth=4)
        units[f"r{k}"] = SequentialReader(system)
        about.append({"name": f"r{k}", "part": name, "clock_hz": mhz * 1e6})
    results = tmp_path / "efficiency.json"
    parameters = {"readers": about, "cycles": 106_000, "beats": 100_000, "results": str(results)}
    run_bench(
        Parts(units),
        "hw.memory.controllers.bench_sdram",
        parameters=parameters,
        testcase="sequential",
        seed=45,
    )
    for found in json.loads(results.read_text()):
        mhz, peak = found["clock_hz"] / 1e6, found["clock_hz"] * PARTS[found["part"]].dq / 8e6
        print(
            f"{found['part']} at {mhz:g} MHz: {found['beats']} beats in {found['cycles']} cycles,"
            f" {found['efficiency']:.4f} of the pins' peak,"
            f" {found['efficiency'] * peak:.1f} of {peak:g} MB/s"
        )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mhz"), [("IS42S16160-7", 100), ("MT48LC4M32B2-7", 143)])
def test_sdram_alone_on_ecp5(name: str, mhz: int) -> None:
    cost = unit_report(lambda: SdramController(PARTS[name], mhz * 1e6), "sdram", clock_mhz=143)
    print(
        f"{name} at {mhz} MHz: {cost['lut4']} LUT4, {cost['ff']} FF,"
        f" {cost['block_ram']} block RAM, Fmax {cost['fmax_mhz']:.1f} MHz"
    )
    assert cost["fmax_mhz"] >= 120.0
