"""`python -m setun.estimate.synthesis`: whole chips of a 370M model through Yosys, as a table.

Cells of the netlist, of those that the FPGA has, and what the estimate says. No placement. Results
are kept by content. On two busy cores under YoWASP the first chip takes 5 minutes, the second 19.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setun import boards
from setun.estimate.cores import core_estimate
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.memory_layout import sized_for
from setun.hw.emit.verilog import TOP, chip_verilog
from setun.hw.fpga.families import ECP5
from setun.hw.fpga.flow.cache import Cache, digest
from setun.hw.fpga.flow.process import Children
from setun.hw.fpga.flow.report import netlist_cells
from setun.hw.fpga.flow.toolchain import find_tool
from setun.models.load import open_outline
from setun.programs import parser, run, step, table

MODEL = "random-370m"
BOARD = "generic-axi4"
KINDS = ("luts", "registers", "block_ram", "multipliers")
# Elements that Amaranth names x[0], x[1] would pass for bits of x where ABC9 hands over names.
_READ = r"""read_verilog setun.v
rename -hide */w:*\[*\]
setparam -set COLLISION_X_MASK 1'1 *.memories.*/t:$memrd_v2
"""
_STAT = "\ntee -q -o stat.json stat -json\n"
# A RAM32M16 or RAM64M8 is eight LUTs; block RAM is counted in halves of 18 Kbit.
_LUT_RAM = {"RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM32X1D": 2, "RAM64X1D": 2}
_LUTS = {**{f"LUT{n}": 1 for n in range(1, 7)}, "INV": 1, "SRL16E": 1, "SRLC32E": 1, **_LUT_RAM}
XILINX: Mapping[str, Mapping[str, int]] = {
    **{cell: {"luts": n} for cell, n in _LUTS.items()},
    **{cell: {"registers": 1} for cell in ("FDRE", "FDSE", "FDCE", "FDPE")},
    "RAMB18E2": {"block_ram": 1},
    "RAMB36E2": {"block_ram": 2},
    "DSP48E2": {"multipliers": 1},
}
HARMLESS = {"CARRY4", "CARRY8", "MUXF7", "MUXF8", "PFUMX", "L6MUX21", "$scopeinfo"}
"""Cells beside those of the tables, which take no resource of their own."""


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A chip and the FPGA that it is synthesised for.

    Parameters
    ----------
    part
        As the board without an FPGA knows it.
    options
        Of the chip, beside the board's.
    script
        Of Yosys: synthesis of the module `TOP`.
    costs
        Resources that each cell takes.
    """

    part: str
    options: Mapping[str, Any]
    script: str
    costs: Mapping[str, Mapping[str, int]]


CHIPS = {
    "ecp5": Chip(
        part="LFE5UM5G-85F",
        options={"columns": 16, "rows": 4, "lanes": 4, "contexts": 1, "memory": "axi4-256"},
        script=f"synth_ecp5 -top {TOP}",
        costs=ECP5.costs,
    ),
    "xilinx": Chip(
        part="XCK26",
        options={"columns": 32, "rows": 16, "lanes": 8, "contexts": 1, "memory": "axi4-512"},
        # Module by module; pads and clock buffers are those of the design around it.
        script=f"synth_xilinx -family xcup -top {TOP} -noclkbuf -noiopad -nowidelut",
        costs=XILINX,
    ),
}


def config_of(chip: Chip) -> ChipConfig:
    """The chip, with memories for the model."""
    board = boards.get(BOARD)
    plain = {**ChipConfig().to_dict(), **board.chip, "clock_hz": round(board.clock_mhz * 1e6)}
    return sized_for(open_outline(MODEL).image, ChipConfig.from_dict({**plain, **chip.options}))


def needs(cells: Mapping[str, int], costs: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Resources that cells take; refuses one that `costs` lacks and that is not `HARMLESS`."""
    total = dict.fromkeys(KINDS, 0)
    for cell, count in cells.items():
        if cell not in costs and cell not in HARMLESS and not cell.startswith(TOP):
            raise SetunError("netlist", "must be of cells whose resources are known", cell)
        for kind, cost in costs.get(cell, {}).items():
            if kind in total:
                total[kind] += cost * count
    return total


def synthesised(chip: Chip) -> dict[str, int]:
    """Cells by type of a chip's netlist."""
    verilog, yosys = chip_verilog(config_of(chip)), find_tool("yosys")
    script = f"{_READ}{chip.script}{_STAT}"

    def produce(work: Path) -> None:
        (work / "setun.v").write_text(verilog, "utf-8")
        (work / "synth.ys").write_text(script, "utf-8")
        with Children() as children:
            command = [*yosys.command, "-q", "-s", "synth.ys"]
            children.run(yosys.name, command, cwd=work, log=work / "yosys.log")
        (work / "setun.v").unlink()

    return netlist_cells(
        Cache().get(digest("chip", verilog, script, str(yosys)), produce) / "stat.json"
    )


def row(chip: Chip) -> list[str]:
    """A line of the table; SetunError where the FPGA lacks something."""
    config, board = config_of(chip), boards.get(BOARD)
    used, has = needs(synthesised(chip), chip.costs), board.parts[chip.part]
    if short := [kind for kind in KINDS if used[kind] > has[kind]]:
        told = ", ".join(f"{kind} {used[kind]} of {has[kind]}" for kind in short)
        raise SetunError(f"chip for {chip.part}", "must fit (needed of available)", told)
    guess = core_estimate(config).cells(config, board.fpga)
    return [
        f"{chip.part}, {config.macs} MACs, {config.lanes} lanes, {config.memory}",
        *(f"{used[kind]:,} of {has[kind]:,} ({guess[kind]:,})" for kind in KINDS),
    ]


def main() -> None:
    """Print the table, or cells by type."""
    options = parser(__doc__)
    options.add_argument("--chip", choices=list(CHIPS), action="append", help="these alone")
    options.add_argument("--cells", action="store_true", help="cells by type instead, as JSON")
    chosen = options.parse_args()
    names = chosen.chip or list(CHIPS)
    rows = []
    for name in names:
        step(f"synthesise for {CHIPS[name].part}")
        if chosen.cells:
            print(json.dumps({name: synthesised(CHIPS[name])}))
        else:
            rows.append(row(CHIPS[name]))
    if rows:
        print(table(("chip", "LUTs", "registers", "block RAM of 18 Kbit", "multipliers"), rows))


if __name__ == "__main__":
    run(main)
