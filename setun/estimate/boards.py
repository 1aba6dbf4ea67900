"""`python -m setun.estimate.boards`: what builds of the boards' usual chips gave, as a table.

The builds are in boards.json, where `python -m setun.estimate.measure --report FILE` puts them.
`--write FILE` puts the table in the place of the one in a file.
"""

from pathlib import Path
from typing import Any

from setun import boards
from setun.boards import Board
from setun.estimate.cells import data
from setun.firmware.config import ChipConfig
from setun.firmware.memory_kinds import KINDS
from setun.programs import parser, run, table

FILE = "boards.json"
HEADING = ("board", "chip", "cells", "block RAM", "clock, reached", "cycles per token", "tokens/s")
CELLS = ("luts", "block_ram")
STREAMS = {1: "one stream", 2: "two streams", 4: "four streams"}
NOT_BUILT = "not built yet"


def record(report: dict[str, Any]) -> dict[str, Any]:
    """What the table says of one build, from the report.json of `setun build`."""
    config, used = report["config"], report["utilisation"]
    return {
        **{key: report[key] for key in ("board", "model", "clock_mhz", "fmax_mhz", "streams")},
        "cycles_per_token": report["cycles_per_token"],
        "macs": config["columns"] * config["rows"],
        "memory": config["memory"],
        "utilisation": {k: used[k] for k in CELLS},
    }


def usual(report: dict[str, Any]) -> bool:
    """Whether a report is of a board's usual chip with the board's model, timing met."""
    board = boards.get(report["board"])
    chip = ChipConfig.from_dict({**ChipConfig().to_dict(), **board.usual({})}).to_dict()
    names = [*board.chip, "part", "pump", "memory"]
    return (
        report["timing_met"]
        and report["model"] == board.model
        and report["clock_mhz"] == board.chip_clock_mhz
        and all(report["config"][name] == chip[name] for name in names)
    )


def _row(board: Board, found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return [board.label, NOT_BUILT, *[""] * (len(HEADING) - 2)]
    used = found["utilisation"]
    tokens = found["clock_mhz"] * 1e6 / found["cycles_per_token"]
    place = KINDS[found["memory"]].place
    return [
        board.label,
        f"`{found['model']}` in {place}, {found['macs']} MACs, {STREAMS[found['streams']]}",
        "{:,} of {:,} ".format(*used["luts"]) + board.fpga.called("luts"),
        "{} of {}".format(*used["block_ram"]),
        f"{found['clock_mhz']:g} MHz, {found['fmax_mhz']:.1f}",
        f"{found['cycles_per_token']:,.0f}",
        f"{tokens:,.0f}",
    ]


def measured() -> str:
    """The table, a line for each board with an FPGA, the largest FPGA first."""
    found = {each["board"]: each for each in data(FILE)}
    known = [board for board in map(boards.get, boards.names()) if board.has_fpga]
    known.sort(key=lambda board: (-max(board.capacity.values()), board.name not in found))
    return table(HEADING, [_row(board, found.get(board.name)) for board in known])


def replaced(text: str) -> str:
    """`text` with the table in it replaced by `measured`."""
    heading = "| " + " | ".join(HEADING) + " |"
    lines, out, inside = text.splitlines(keepends=True), [], False
    for line in lines:
        if line.rstrip() == heading:
            out.append(measured() + "\n")
            inside = True
        inside = inside and line.startswith("|")
        if not inside:
            out.append(line)
    return "".join(out)


def main() -> None:
    """Print the table, or put it into files."""
    options = parser(__doc__)
    options.add_argument("--write", type=Path, action="append", metavar="FILE", default=[])
    files = options.parse_args().write
    for file in files:
        file.write_text(replaced(file.read_text("utf-8")), "utf-8")
    if not files:
        print(measured())


if __name__ == "__main__":
    run(main)
