"""What the tools report as JSON, reduced to what Setun reports."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from setun.firmware.errors import SetunError

# What each cell of the netlist takes of the device, in nextpnr's names. An iCE40's register may
# share a cell with a LUT.
CELL_COSTS: dict[str, dict[str, int]] = {
    "LUT4": {"TRELLIS_COMB": 1},
    "CCU2C": {"TRELLIS_COMB": 2},
    "TRELLIS_DPR16X4": {"TRELLIS_COMB": 4, "TRELLIS_RAMW": 1},
    "TRELLIS_FF": {"TRELLIS_FF": 1},
    "DP16KD": {"DP16KD": 1},
    "PDPW16KD": {"DP16KD": 1},
    "MULT18X18D": {"MULT18X18D": 1},
    "EHXPLLL": {"EHXPLLL": 1},
    "SB_LUT4": {"ICESTORM_LC": 1},
    "SB_RAM40_4K": {"ICESTORM_RAM": 1},
    "SB_MAC16": {"ICESTORM_DSP": 1},
    "SB_SPRAM256KA": {"ICESTORM_SPRAM": 1},
    "SB_PLL40_PAD": {"ICESTORM_PLL": 1},
}

# nextpnr keeps periods in whole picoseconds: 60 MHz becomes a constraint of 60.0024 MHz.
ROUNDING = 1 - 1e-4


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SetunError(
            f"report {path.name}", "must be JSON written by the tool", error
        ) from error


def netlist_cells(stat: Path) -> dict[str, int]:
    """Cells by type in the file that Yosys' `stat -json` wrote, submodules included."""
    cells = _load(stat)["design"]["num_cells_by_type"]
    return {name: int(count) for name, count in sorted(cells.items())}


def needs(cells: Mapping[str, int]) -> dict[str, int]:
    """Least resources, in nextpnr's names, that a netlist of these cells takes."""
    total: dict[str, int] = {}
    for cell, count in cells.items():
        for resource, cost in CELL_COSTS.get(cell, {}).items():
            total[resource] = total.get(resource, 0) + cost * count
    return total


def check_fit(name: str, needed: Mapping[str, int], capacity: Mapping[str, int]) -> None:
    """SetunError that lists needed against available for each resource that is short."""
    short = [
        f"{resource} {count} of {capacity[resource]}"
        for resource, count in sorted(needed.items())
        if resource in capacity and count > capacity[resource]
    ]
    if short:
        raise SetunError(
            f"design for {name}",
            "must fit the FPGA",
            f"needed of available: {', '.join(short)}",
            "a smaller array, model or memory",
        )


def timing(report: Path, clock_mhz: float) -> tuple[float, bool]:
    """Fmax in MHz of the clock asked for, and whether every clock meets its constraint.

    `report` is what `nextpnr --report` wrote. The clock asked for is the one whose constraint
    is nearest to `clock_mhz`. The others come from the same PLL and keep their ratio to it, so
    Fmax is where the slowest of all ends; a path from one clock to another has a period of the
    faster one.
    """
    found = _load(report)
    clocks = found["fmax"]
    if not clocks:
        raise SetunError("design", "must have registers on a clock to be timed", "none")
    asked = min((c["constraint"] for c in clocks.values()), key=lambda c: abs(c - clock_mhz))
    speeds = [(clock["achieved"], clock["constraint"]) for clock in clocks.values()]
    for path in found.get("critical_paths", ()):
        ends = [path[end].removeprefix("posedge ") for end in ("from", "to")]
        if ends[0] != ends[1] and all(end in clocks for end in ends):
            delay_ns = sum(part["delay"] for part in path["path"])
            speeds.append((1e3 / delay_ns, max(clocks[end]["constraint"] for end in ends)))
    share = min(achieved / constraint for achieved, constraint in speeds)
    return round(share * asked, 2), share >= ROUNDING and share * asked >= clock_mhz * ROUNDING


def utilisation(report: Path) -> dict[str, list[int]]:
    """Cells [used, available] by type, from what `nextpnr --report` wrote."""
    cells = _load(report)["utilization"]
    return {
        name: [int(cell["used"]), int(cell["available"])] for name, cell in sorted(cells.items())
    }
