"""What the tools report as JSON, reduced to what Setun reports."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from setun.firmware.errors import SetunError
from setun.hw.fpga.family import Family

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


def utilisation(report: Path, kind: Family) -> dict[str, list[int]]:
    """Resources [used, available] by neutral name, from what `nextpnr --report` wrote.

    What has none, pads and the like, goes by nextpnr's.
    """
    cells = _load(report)["utilization"]
    return kind.neutral(
        {name: [int(cell["used"]), int(cell["available"])] for name, cell in cells.items()}
    )
