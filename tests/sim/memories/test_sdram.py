"""The SDRAM model finds what breaks a datasheet, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from bench.harness import Parts
from bench.runner import run_bench
from hw.memory.controllers.sdram_harness import RawPart, SdramSystem, SequentialReader
from setun.firmware.errors import SetunError
from setun.hw.memory.controllers.sdram_timing import (
    AS4C32M16SB,
    IS42S16160,
    PARTS,
    Command,
    Span,
    sdram_timing,
)
from setun.sim.memories.sdram import SdramModel
from setun.sim.memories.sdram_rules import Rule, describe
from sim.memories.sdram_scripts import CLOCK_HZ, DEPTH, PART, POWER_UP_US

# What the part asks for beyond what the controller knows of, and the rule that it then finds
# broken; a wrong return delay only corrupts the data.
MUTANTS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("tRCD", {"rcd": Span(cycles=8)}, {}, "T_RCD"),
    ("tRP", {"rp": Span(cycles=7)}, {}, "T_RP"),
    ("tRAS", {"ras": Span(cycles=16), "rc": Span(cycles=16)}, {}, "T_RAS"),
    ("tRC", {"rc": Span(cycles=18)}, {}, "T_RC"),
    ("tRFC", {"rfc": Span(cycles=13)}, {}, "T_RFC"),
    ("tMRD", {"mrd": Span(cycles=24)}, {}, "T_MRD"),
    ("refreshes", {"init_refreshes": 9}, {}, "INIT"),
    ("tREFI", {"refreshes": 16384}, {}, "T_REFI"),
    ("CAS latency", {"cas_hz": ((2, 90e6), (3, 143e6))}, {}, "CAS"),
    ("return too early", {}, {"round_trip": 2, "told_round_trip": 1}, "none"),
    ("return too late", {}, {"round_trip": 1, "told_round_trip": 2}, "none"),
    ("nothing", {}, {}, "none"),
]


def test_scripts() -> None:
    model = SdramModel(PART, CLOCK_HZ, depth=DEPTH, patterned=True, power_up_us=POWER_UP_US)
    run_bench(
        Parts({"raw": RawPart(model)}), "sim.memories.bench_sdram", testcase="scripts", seed=51
    )


@pytest.mark.slow
def test_mutants() -> None:
    units, about = {}, []
    part, clock_hz = IS42S16160, 100e6
    for k, (what, asks, system, rule) in enumerate(MUTANTS):
        strict = replace(part, **asks)
        made = SdramSystem(strict, clock_hz, told=part, depth=4, **system)
        # One beat of each row of one bank: nothing hides the times between commands.
        units[f"m{k}"] = SequentialReader(made, size=1, stride=4 * part.columns)
        about.append(
            {
                "name": f"m{k}",
                "what": what,
                "rule": rule,
                "part": part.name,
                "clock_hz": clock_hz,
                "corrupt": what.startswith("return"),
            }
        )
    parameters = {"readers": about, "cycles": 11_000}
    run_bench(
        Parts(units), "sim.memories.bench_sdram", parameters=parameters, testcase="mutants", seed=52
    )


def test_a_violation_is_said_in_full() -> None:
    found = {"code": Rule.T_RCD, "command": Command.READ, "bank": 2, "cycle": 1234, "found": 1}
    assert describe(found, IS42S16160, 100e6) == (
        "IS42S16160-7, cycle 1234: READ bank 2: tRCD: from ACTIVATE to READ or WRITE;"
        " found 10.0 ns (1 cycles), needed at least 20.0 ns (2 cycles)"
    )
    found |= {"code": Rule.T_REFI, "command": Command.NOP, "found": 9}
    assert describe(found, IS42S16160, 100e6).endswith(
        "tREFI: refreshes outstanding; found 9, allowed 8"
    )


def test_cycles_of_a_datasheet() -> None:
    assert Span(ns=20).at(125e6) == 3  # the datasheets' own example
    assert Span(ns=20).at(100e6) == 2
    assert Span(ns=21).at(142.857e6) == 3
    assert Span(ns=14, cycles=2).at(30e6) == 2
    at_100, at_101 = (sdram_timing(IS42S16160, hz) for hz in (100e6, 101e6))
    assert (at_100.cas_latency, at_101.cas_latency) == (2, 3)
    assert (at_100.rcd, at_100.rp, at_100.ras, at_100.rfc) == (2, 2, 5, 7)
    assert at_100.refresh_interval <= 64e-3 * 100e6 / 8192
    assert IS42S16160.capacity == AS4C32M16SB.capacity // 2 == 32 << 20


@pytest.mark.parametrize("name", PARTS)
def test_impossible_clocks_are_refused(name: str) -> None:
    for hz in (29e6, 144e6):
        with pytest.raises(SetunError, match="MHz"):
            sdram_timing(PARTS[name], hz)
    with pytest.raises(SetunError, match=r"CAS latency .* must be one of 3"):
        sdram_timing(PARTS[name], 120e6, cas_latency=2)
