"""The models of an ECP5's block RAM and multiplier against Amaranth's memories and products."""

from pathlib import Path

from bench.cells import linked
from bench.runner import run_bench
from hw.fpga.netlist.bench_cells import Beside, Trial
from hw.fpga.netlist.cells import cell_models, cells
from hw.fpga.netlist.synthesis import synthesised

SEED = 61
MODELLED = {"DP16KD", "MULT18X18D"}


def test_block_ram_and_multiplier(tmp_path: Path) -> None:
    gates = synthesised(Trial(), "cells", "ecp5", tmp_path)
    used = cells(gates)
    print(dict(used))
    assert used["DP16KD"] >= 14 and used["MULT18X18D"] == 2
    assert gates.count('"OUTREG"') >= 2
    around = linked(gates, cell_models("ecp5", used.keys() - MODELLED), "cells")
    models = around + cell_models("ecp5", MODELLED)
    run_bench(
        Beside(), "hw.fpga.netlist.bench_cells", parameters={"seed": SEED}, seed=SEED, models=models
    )
