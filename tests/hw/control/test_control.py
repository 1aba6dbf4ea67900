"""Sequencer and generation: every field of every instruction, and every way a run can end."""

import pytest

from bench.harness import ControlHarness
from bench.runner import run_bench
from setun.firmware.config import ChipConfig


@pytest.mark.parametrize("contexts", [1, pytest.param(2, marks=pytest.mark.slow), 4])
def test_control(contexts: int) -> None:
    config = ChipConfig(lanes=4, columns=8, rows=8, contexts=contexts)
    parameters = {"config": config.to_dict()}
    run_bench(ControlHarness(config), "hw.control.bench_control", parameters=parameters, seed=81)
