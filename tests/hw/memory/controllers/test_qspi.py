"""The quad SPI flash controller on two models of a flash: reads, loads, efficiency."""

import gc
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.harness import Parts
from bench.runner import run_bench
from hw.memory.controllers.qspi_harness import FlashSystem, flash_model
from setun.firmware.errors import SetunError
from setun.hw.fpga.flow.unit import unit_report
from setun.hw.memory.controllers.qspi import QspiFlash
from setun.hw.memory.controllers.qspi_parts import PARTS

CLOCK_HZ = 100e6
# The first is found in the continuous mode of an earlier configuration, the second in power-down.
SYSTEMS: list[dict[str, Any]] = [
    {"part": "W25Q32JV", "base": 0x30_0000, "continuous": True, "stall": 0.3},
    {"part": "IS25LP128F", "capacity": 1 << 16, "powered": False, "late": 1, "stall": 0.0},
    {
        "part": "MX25L12833F",
        "capacity": 1 << 16,
        "always": True,
        "round_trip": 3,
        "late": 2,
        "stall": 0.9,
    },
    {
        "part": "IS25LP128F",
        "capacity": 1 << 16,
        "base": 0x4000,
        "continuous": True,
        "own": True,
        "stall": 0.3,
    },
    {"part": "W25Q32JV", "capacity": 1 << 16, "powered": False, "own": True, "stall": 0.9},
]


@pytest.fixture
def systems() -> tuple[Parts, list[dict[str, Any]]]:
    """The systems, and what the benches know of them."""
    units, about = {}, []
    for k, given in enumerate(SYSTEMS):
        part = PARTS[given["part"]]
        part = replace(part, capacity=given.get("capacity", part.capacity))
        enable = part.quad_enable.bit if part.quad_enable else 0
        if given.get("always"):
            part, enable = replace(part, quad_enable=None), 0x02
        options = {
            name: given[name]
            for name in ("base", "continuous", "powered", "late", "own", "round_trip")
            if name in given
        }
        units[f"s{k}"] = FlashSystem(part, CLOCK_HZ, **options)
        about.append(
            {
                "name": f"s{k}",
                "capacity": part.capacity,
                "base": given.get("base", 0),
                "stall": given["stall"],
                "enable": enable,
            }
        )
    return Parts(units), about


def run_qspi(component: Parts, case: str, parameters: dict[str, Any], seed: int) -> None:
    run_bench(
        component,
        "hw.memory.controllers.bench_qspi",
        parameters=parameters,
        testcase=case,
        seed=seed,
        models=flash_model(),
    )


def test_qspi_reads(systems: tuple[Parts, list[dict[str, Any]]]) -> None:
    component, about = systems
    parameters = {"systems": about, "rounds": 10}
    run_qspi(component, "reads", parameters, seed=61)


def test_qspi_writes(systems: tuple[Parts, list[dict[str, Any]]]) -> None:
    component, about = systems
    parameters = {"systems": about}
    run_qspi(component, "writes", parameters, seed=62)


def test_qspi_efficiency(systems: tuple[Parts, list[dict[str, Any]]], tmp_path: Path) -> None:
    component, about = systems
    results = tmp_path / "efficiency.json"
    parameters = {"systems": about, "kilobytes": [4, 16], "results": str(results)}
    run_qspi(component, "sequential", parameters, seed=63)
    for found in json.loads(results.read_text()):
        part = SYSTEMS[int(found["name"][1:])]["part"]
        if "latency" in found:
            print(f"{part}: {found['latency']:g} cycles from a request elsewhere to its beat")
        else:
            print(
                f"{part}, {found['kilobytes']} KB: {found['cycles']:g} cycles,"
                f" {found['efficiency']:.4f} of the pins' peak"
            )


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize(
    ("change", "said"),
    [({"base": 2048}, "4096"), ({"clock_hz": 250e6}, "208 MHz"), ({"round_trip": 0}, "round_trip")],
)
def test_qspi_refuses(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SetunError, match=said):
        QspiFlash(PARTS["W25Q128JV"], **({"clock_hz": CLOCK_HZ} | change))
    gc.collect()  # while Amaranth's warning of a component never used is filtered


@pytest.mark.slow
def test_qspi_alone_on_ecp5() -> None:
    part = PARTS["IS25LP128F"]
    cost = unit_report(lambda: QspiFlash(part, CLOCK_HZ, base=2 << 20), "qspi")
    print(
        f"{cost['lut4']} LUT4, {cost['ff']} FF, {cost['block_ram']} block RAM,"
        f" Fmax {cost['fmax_mhz']:.1f} MHz"
    )
    assert cost["fmax_mhz"] >= 100.0
