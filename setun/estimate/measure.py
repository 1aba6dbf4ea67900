"""`python -m setun.estimate.measure`: the netlists that the estimator's formulas are fitted to.

Every unit of a chip is synthesised alone for each design whose options it depends on (half a minute
each, no placement), and its cells go into units.json. Units that are in there already are left as
they are; `--again` measures all of them. `--report FILE` adds a report.json of `setun build` to
builds.json, which the estimate is compared with (an ECP5's), and to boards.json, from which
`python -m setun.estimate.boards` makes the table of boards (a board's usual chip's).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from setun.bench.units import units
from setun.estimate import boards
from setun.estimate.designs import DESIGNS, ONLY, OPTIONS, design_config
from setun.firmware.config import ChipConfig
from setun.firmware.memory_kinds import KINDS
from setun.hw.attention.unit import Attention
from setun.hw.control.fetch import ProgramFetch
from setun.hw.fpga.flow.unit import FAMILY, unit_cells
from setun.hw.memory.external import ExternalMemory
from setun.hw.memory.spaces import Memories
from setun.programs import parser, run, step

FOLDER = Path(__file__).parent
KEYS = ("board", "clock_mhz", "config", "cycles_per_token", "model", "streams", "utilisation")
CELLS = ("luts", "registers", "block_ram", "multipliers")


def factories(config: ChipConfig) -> dict[str, Callable[[], Any]]:
    """The units whose cells add up to a chip's, all but the little that joins them."""
    found = {
        **units(config),
        "memories": lambda: Memories(config, None),
        "outside": lambda: ExternalMemory(config, FAMILY.technology),
        "fetch": lambda: ProgramFetch(config),
    }
    lacking = {"fetch" if config.streams else "outside"}
    if config.attention:
        found["attention"] = lambda: Attention(config)
    else:
        lacking.add("attention")
    return {name: found[name] for name in OPTIONS if name not in lacking}


def _same(unit: str, options: dict[str, Any], others: dict[str, Any]) -> bool:
    """Whether a unit has the same cells; which memory lies outside matters to one unit only."""
    if unit != "outside" and "memory" in options:
        options, others = (
            {**each, "memory": KINDS[each["memory"]].external} for each in (options, others)
        )
    return options == others


def measure_units(path: Path, again: bool) -> None:
    """Fill `path` with the cells of all units of all designs."""
    rows = [] if again else json.loads(path.read_text("utf-8"))
    for name, options in DESIGNS.items():
        config = design_config(options)
        for unit, factory in factories(config).items():
            if unit != ONLY.get(name, unit):
                continue
            values = {k: v for k, v in config.to_dict().items() if k in OPTIONS[unit]}
            if any(row["unit"] == unit and _same(unit, row["options"], values) for row in rows):
                continue
            step(f"{name}: {unit}")
            used = FAMILY.needs(unit_cells(factory, unit))
            rows.append(
                {"unit": unit, "design": name, "options": values}
                | {cell: used.get(cell, 0) for cell in CELLS}
            )
            path.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n", "utf-8")


def add_report(folder: Path, file: Path) -> None:
    """Add what `setun build` reported, in place of an earlier report of the same chip."""
    found = json.loads(file.read_text("utf-8"))
    if set(CELLS) <= found["utilisation"].keys():
        row = {key: found[key] for key in KEYS}
        row["utilisation"] = {cell: row["utilisation"][cell] for cell in CELLS}
        _put(folder / "builds.json", row, ("board", "config", "model"))
    if boards.usual(found):
        _put(folder / boards.FILE, boards.record(found), ("board",))


def _put(path: Path, row: dict[str, Any], same: tuple[str, ...]) -> None:
    """Add a row to a file, in place of the one that has the `same` values."""
    rows = json.loads(path.read_text("utf-8"))
    rows = [old for old in rows if any(old[key] != row[key] for key in same)]
    text = ",\n".join(json.dumps(each) for each in [*rows, row])
    path.write_text(f"[\n{text}\n]\n", "utf-8")


def main() -> None:
    """Measure what is missing."""
    options = parser(__doc__)
    options.add_argument("--again", action="store_true", help="also what is there already")
    options.add_argument("--report", type=Path, action="append", metavar="FILE")
    chosen = options.parse_args()
    for file in chosen.report or ():
        add_report(FOLDER, file)
    if not chosen.report:
        measure_units(FOLDER / "units.json", chosen.again)


if __name__ == "__main__":
    run(main)
