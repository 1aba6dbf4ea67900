"""`python -m setun.hw.alternatives.products [E,M ...]`: L-Mul against multipliers, each alone.

Cells after synthesis, not placed, of a unit with its two stages of registers: LUT4 of an ECP5 (a
carry cell counts as two) and LUT6 of a Xilinx 7 series (its CARRY4 besides).
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from amaranth.back import rtlil

from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.lmul import MOST_SEGMENTS
from setun.hw.arith import FloatMultiplier, LMul
from setun.hw.fpga.families import ECP5
from setun.hw.fpga.flow.process import Children
from setun.hw.fpga.flow.report import netlist_cells
from setun.hw.fpga.flow.toolchain import find_tool
from setun.programs import line, parser, run, table

FORMATS = (Format(4, 3), Format(5, 2), Format(8, 7), Format(8, 9))
COLUMNS = ("format", "product", "LUT4", "FF", "MULT18X18D", "LUT6", "CARRY4", "DSP48E1")
UNITS: dict[str, tuple[Callable[[Format], Any], str]] = {
    "L-Mul, segments = 0": (LMul, ""),
    **{
        f"L-Mul, segments = {bits}": (partial(LMul, segments=bits), "")
        for bits in range(2, MOST_SEGMENTS + 1)
    },
    "exact, multiplier block": (FloatMultiplier, ""),
    "exact, LUTs": (FloatMultiplier, "-nodsp"),
    "exact, additions": (partial(FloatMultiplier, adders=True), ""),
}
SCRIPT = """\
read_rtlil unit.il
{synthesis} -top unit {options}
tee -q -o stat.json stat -json
"""
FLOWS = {"ecp5": "synth_ecp5", "xilinx": "synth_xilinx -family xc7 -noiopad -noclkbuf"}


def cells(unit: Any, flow: str, options: str = "") -> dict[str, int]:
    """Cells by type of a component after the synthesis of `FLOWS`."""
    tool = find_tool("yosys")
    script = SCRIPT.format(synthesis=FLOWS[flow], options=options)
    with Children() as children, tempfile.TemporaryDirectory(prefix="setun-products-") as name:
        work = Path(name)
        (work / "unit.il").write_text(rtlil.convert(unit, name="unit", emit_src=False), "utf-8")
        (work / "synth.ys").write_text(script, "utf-8")
        command = [*tool.command, "-s", "synth.ys"]
        children.run(tool.name, command, cwd=work, log=work / "yosys.log")
        return netlist_cells(work / "stat.json")


def costs(unit: Any, options: str) -> tuple[int, ...]:
    """(LUT4, FF, MULT18X18D) on an ECP5 and (LUT6 of any size, CARRY4, DSP48E1) on a Xilinx."""
    small, large = (cells(unit, flow, options) for flow in FLOWS)
    used = ECP5.needs(small)
    luts = sum(count for cell, count in large.items() if cell.startswith("LUT"))
    return (
        used.get("luts", 0),
        used.get("registers", 0),
        used.get("multipliers", 0),
        luts,
        large.get("CARRY4", 0),
        large.get("DSP48E1", 0),
    )


def exponent_and_mantissa(text: str) -> Format:
    """E,M as a format; ValueError for what is none."""
    exponent, mantissa = map(int, text.split(","))
    return Format(exponent, mantissa)


def main() -> None:
    """Print the table of docs/numerics.md."""
    options = parser(__doc__)
    options.add_argument(
        "formats",
        nargs="*",
        metavar="E,M",
        type=exponent_and_mantissa,
        default=FORMATS,
        help="bits of exponent and mantissa",
    )
    wanted = options.parse_args().formats
    print(table(COLUMNS, ()), flush=True)
    for fmt in wanted:
        for name, (unit, more) in UNITS.items():
            cells = costs(unit(fmt), more)
            print(line([f"({fmt.exponent}, {fmt.mantissa})", name, *cells]), flush=True)


if __name__ == "__main__":
    run(main)
