"""Whole chips through Yosys: what its cells come to, and which chips are tried."""

import pytest

from setun import boards
from setun.estimate.cores import core_estimate
from setun.estimate.synthesis import BOARD, CHIPS, KINDS, XILINX, config_of, needs
from setun.firmware.errors import SetunError
from setun.hw.fpga.families import ECP5


@pytest.mark.parametrize("name", CHIPS)
def test_chips_fit_their_fpga_by_the_estimate(name: str) -> None:
    chip, board = CHIPS[name], boards.get(BOARD)
    config = config_of(chip)
    assert config.streams and config.contexts == 1
    cells = core_estimate(config).cells(config, board.fpga)
    assert all(cells[kind] < board.parts[chip.part][kind] for kind in KINDS)
    assert (config.macs, config.beat) == {"ecp5": (64, 256), "xilinx": (512, 512)}[name]


def test_cells_become_resources() -> None:
    cells = {"LUT6": 3, "INV": 1, "RAM32M16": 2, "RAMB36E2": 1, "RAMB18E2": 1, "CARRY4": 9}
    used = needs({**cells, "FDRE": 5, "DSP48E2": 2, "setun.core": 1}, XILINX)
    assert used == {"luts": 20, "registers": 5, "block_ram": 3, "multipliers": 2}
    used = needs(
        {"CCU2C": 2, "LUT4": 1, "TRELLIS_DPR16X4": 1, "PFUMX": 1, "plls": 0},
        {**ECP5.costs, "plls": {}},
    )
    assert used == {"luts": 9, "registers": 0, "block_ram": 0, "multipliers": 0}
    with pytest.raises(SetunError, match="resources are known; found URAM288"):
        needs({"URAM288": 1}, XILINX)
