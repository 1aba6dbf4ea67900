"""What a cocotb module needs inside the simulator: its inputs, its seed, clock and reset."""

import json
import os
import random
from functools import lru_cache
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge
from numpy.typing import NDArray

FOLDER = "SETUN_BENCH"  # environment variable: folder of this run


def folder() -> Path:
    """Folder of this run; what a bench writes there is kept when it fails."""
    return Path(os.environ[FOLDER])


@lru_cache(maxsize=1)
def _context() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder() / "context.json").read_text())
    return loaded


def parameters() -> dict[str, Any]:
    """The JSON values given to `run_bench(parameters=...)`."""
    given: dict[str, Any] = _context()["parameters"]
    return given


def seed() -> int:
    """The seed given to `run_bench(seed=...)`."""
    return int(_context()["seed"])


def generator(name: str) -> random.Random:
    """A random generator of its own for each `name`, reproducible from the bench's seed."""
    return random.Random(f"{seed()}:{name}")


@lru_cache(maxsize=1)
def arrays() -> dict[str, NDArray[Any]]:
    """The arrays given to `run_bench(arrays=...)`."""
    path = folder() / "arrays.npz"
    if not path.exists():
        return {}
    with np.load(path) as loaded:
        return {name: loaded[name] for name in loaded.files}


async def start(dut: Any, *, reset_cycles: int = 2, period_ns: int = 10) -> None:
    """Start `clk`, hold `rst` for some cycles, return on a falling edge.

    Benches write inputs on falling edges and read settled values before the rising one, so no
    simulator's order of events matters.
    """
    cocotb.log.info("seed %d", seed())
    Clock(dut.clk, period_ns, "ns", impl="gpi").start()
    if hasattr(dut, "rst"):
        dut.rst.value = 1
    for _ in range(reset_cycles):
        await FallingEdge(dut.clk)
    if hasattr(dut, "rst"):
        dut.rst.value = 0
