"""Passes that generation gives up when the watchdog bites."""

import pytest

from bench.harness import ControlHarness
from bench.runner import run_bench
from setun.firmware.config import ChipConfig


@pytest.mark.parametrize("contexts", [1, pytest.param(2, marks=pytest.mark.slow), 4])
def test_hang(contexts: int) -> None:
    config = ChipConfig(lanes=4, columns=8, rows=8, contexts=contexts)
    parameters = {"config": config.to_dict()}
    run_bench(ControlHarness(config), "hw.control.bench_hang", parameters=parameters, seed=81)
