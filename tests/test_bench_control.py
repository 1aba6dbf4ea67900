"""Sequencer and generation: every field of every instruction, and every way a run can end."""

import pytest
from bench.runner import run_bench
from units.harness import ControlHarness

from setun.firmware.config import ChipConfig

CASES = ["program", "no_prompt", "faults", "stop", "prompts", "outstanding", "wire_waits"]


@pytest.mark.parametrize("case", CASES)
def test_control(case: str) -> None:
    config = ChipConfig(lanes=4, columns=8, rows=8)
    parameters = {"config": config.to_dict()}
    run_bench(
        ControlHarness(config), "units.control", testcase=case, parameters=parameters, seed=81
    )
