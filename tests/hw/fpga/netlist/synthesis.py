"""Netlists, made with the script of the build flow."""

import subprocess
from pathlib import Path
from typing import Any

from amaranth.back import rtlil

from hw.fpga.netlist.cells import cell_models, cells
from setun.hw.fpga.families import family
from setun.hw.fpga.flow.toolchain import find_tool


def synthesised(component: Any, name: str, kind: str, folder: Path) -> str:
    """Verilog of a component's netlist, of cells of the family `kind`."""
    (folder / f"{name}.il").write_text(str(rtlil.convert(component, name=name, emit_src=False)))
    script = family(kind).flow().synthesis.format(name=name) + f"write_verilog -noattr {name}.v\n"
    (folder / "synth.ys").write_text(script)
    command = [*find_tool("yosys").command, "-q", "-s", "synth.ys"]
    subprocess.run(command, cwd=folder, check=True)
    return (folder / f"{name}.v").read_text()


def with_models(netlist: str, kind: str) -> str:
    """A netlist that a simulator takes."""
    return f"{netlist}\n{cell_models(kind, set(cells(netlist)))}"
