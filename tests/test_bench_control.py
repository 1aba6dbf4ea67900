"""Sequencer and generation: every field of every instruction, and every way a run can end."""

from bench.runner import run_bench
from units.harness import ControlHarness

from setun.firmware.config import ChipConfig


def test_control() -> None:
    config = ChipConfig(lanes=4, columns=8, rows=8)
    parameters = {"config": config.to_dict()}
    run_bench(ControlHarness(config), "units.control", parameters=parameters, seed=81)
