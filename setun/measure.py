"""Cycles per token, measured on the chip's RTL."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from setun.backends import Sampling, SimulatedBackend
from setun.backends.simulated import simulated_config
from setun.firmware.compiler import Image
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.placement import bound_cycles
from setun.hw.generation import COUNTERS
from setun.session import Result, stream

# Configurations of `setun bench`, memories sized for the model.
BENCH_CONFIGS: dict[str, dict[str, Any]] = {
    "onchip-64": {"columns": 16, "rows": 4, "lanes": 4},
    "onchip-256": {"columns": 32, "rows": 8, "lanes": 8},
    # What boards/ulx3s-85f.toml suggests.
    "board-256": {"columns": 32, "rows": 8, "lanes": 4},
    "onchip-512": {"columns": 32, "rows": 16, "lanes": 16},
    "sdram-16": {"packing": "1.6b", "memory": "sdram-16", "clock_hz": 100_000_000},
    "axi4-256": {"packing": "1.6b", "memory": "axi4-256", "clock_hz": 200_000_000},
    "qspi": {"columns": 16, "rows": 4, "lanes": 4, "packing": "1.6b", "memory": "qspi"},
    # An array as wide as the RAM.
    "spram": {"columns": 8, "rows": 4, "lanes": 4, "memory": "spram", "clock_hz": 24_000_000},
}
# What they run unless told: a model of the memory's size.
BENCH_MODELS = {
    "sdram-16": "random-13m", "axi4-256": "random-370m-2l", "spram": "random-430k",
}  # fmt: skip
DEFAULT_MODEL = "shakespeare"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One model on one chip; the keys of `bench --json`, and `account`.

    bound_cycles_per_token is the weights a token reads over what the weight port or the memory's
    pins deliver per cycle. `account` splits a token's cycles by what the array does.
    """

    config: str
    model: str
    cycles_per_token: float
    bound_cycles_per_token: int
    roofline_fraction: float
    mac_per_cycle: float
    account: dict[str, float]


def measure(
    name: str,
    model: str,
    image: Image,
    config: ChipConfig,
    tokens: int = 16,
    progress: Callable[[str], None] = lambda stage: None,
) -> Measurement:
    """Run `tokens` greedy tokens on the simulated chip, checked against golden, and count."""
    backend = SimulatedBackend(image, simulated_config(config), progress=progress)
    try:
        result = Result()
        before = dict(zip(COUNTERS, backend.counters(), strict=True))
        for _ in stream(image, backend, config.vector, [0], tokens, Sampling(), result):
            pass
        after = dict(zip(COUNTERS, backend.counters(), strict=True))
    finally:
        backend.close()
    cycles = result.cycles_per_token
    if cycles is None:
        raise SetunError("measurement", "needs a chip that counts its cycles", "none")
    spent = {key: (after[key] - before[key]) % (1 << 32) for key in COUNTERS}
    # The prompt's token has a body too; its head is the first sample's.
    share = spent["bodies"]
    waits = ("array_busy", "wait_codes", "wait_sink", "wait_weights")
    account = {key: spent[key] / share for key in waits}
    account["array_idle"] = spent["cycles"] / share - sum(account.values())
    bound = bound_cycles(image, config)
    return Measurement(
        config=name,
        model=model,
        cycles_per_token=cycles,
        bound_cycles_per_token=bound,
        roofline_fraction=bound / cycles,
        mac_per_cycle=image.weights / cycles,
        account=account,
    )
