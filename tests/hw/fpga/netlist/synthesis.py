"""Netlists, made with the script of the build flow."""

import json
import subprocess
from pathlib import Path
from typing import Any

from amaranth.back import rtlil

from hw.fpga.netlist.cells import cell_models, cells
from setun.hw.fpga.families import family
from setun.hw.fpga.flow.toolchain import find_tool


def synthesised(component: Any, name: str, kind: str, folder: Path) -> str:
    """Verilog of a component's finished netlist, of cells of the family `kind`."""

    def yosys(script: str) -> None:
        (folder / "run.ys").write_text(script)
        command = [*find_tool("yosys").command, "-q", "-s", "run.ys"]
        subprocess.run(command, cwd=folder, check=True)

    (folder / f"{name}.il").write_text(str(rtlil.convert(component, name=name, emit_src=False)))
    yosys(family(kind).flow().synthesis.format(name=name))
    netlist = json.loads((folder / f"{name}.json").read_text())
    family(kind).finish_netlist(netlist)
    for module in netlist["modules"].values():
        for cell in module["cells"].values():
            wires, ways = cell["connections"], cell["port_directions"]
            # Verilog has no name for an output that is connected to nothing.
            for port in [p for p, bits in wires.items() if ways[p] == "output" and "x" in bits]:
                del wires[port]
    (folder / f"{name}.json").write_text(json.dumps(netlist))
    yosys(f"read_json {name}.json\nwrite_verilog -noattr {name}.v\n")
    return (folder / f"{name}.v").read_text()


def with_models(netlist: str, kind: str) -> str:
    """A netlist that a simulator takes."""
    return f"{netlist}\n{cell_models(kind, set(cells(netlist)))}"
