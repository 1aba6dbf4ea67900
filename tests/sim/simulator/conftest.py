"""Compiled chips for the simulator's tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from setun.sim.simulator import build, compile_chip, find_tools
from sim.simulator.echo_chip import DIVISOR, echo_verilog

Compile = Callable[..., Path]


@pytest.fixture(scope="session")
def compile_echo(request: pytest.FixtureRequest) -> Compile:
    """Compiles the echo chip: ``compile_echo(simulator, waves=False)``.

    Entries are named by everything they are made from, so they stay good between runs.
    """
    folder = Path(request.config.cache.mkdir("simulator")).absolute()
    verilog = echo_verilog()

    def make(simulator: str, waves: bool = False) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(build, "cache_folder", lambda: folder)
            tools = find_tools(simulator)
            return compile_chip(verilog, "top", DIVISOR, waves=waves, tools=tools)

    return make
