"""Gearboxes and weight DMA: any ratio, exact restarts, credit, no bubbles."""

import gc
from math import gcd

import pytest

from bench.harness import Parts
from bench.runner import run_bench
from setun.hw.memory.controllers.dma import WeightDma
from setun.hw.memory.controllers.gearbox import Gearbox

# Exact multiples, units of one byte, of a beat's half; both directions.
RATIOS = [
    (16, 416),
    (416, 16),
    (32, 8),
    (256, 416),
    (512, 416),
    (64, 40),
    (40, 64),
    (24, 16),
    (16, 24),
    (48, 48),
    (8, 88),
]
# The memories end in a short burst, in a short word, or in neither.
DMAS = [
    {"beat": 16, "weight_bits": 416, "capacity": 8 * 1024 + 18, "burst": 8, "depth": 64},
    {"beat": 256, "weight_bits": 416, "capacity": 64 * 1024, "burst": 32, "depth": 128},
    {"beat": 512, "weight_bits": 416, "capacity": 64 * 1024, "burst": 16, "depth": 64},
    {"beat": 64, "weight_bits": 64, "capacity": 8 * 1000, "burst": 16, "depth": 64},
    {"beat": 32, "weight_bits": 8, "capacity": 2 * 1024, "burst": 1, "depth": 32},
]


def test_dma_and_gearboxes() -> None:
    units: dict[str, Gearbox | WeightDma] = {}
    gearboxes, dmas = [], []
    for i_bits, o_bits in RATIOS:
        name, common = f"g{i_bits}to{o_bits}", gcd(i_bits, o_bits)
        units[name] = Gearbox(i_bits, o_bits)
        gearboxes.append(
            {
                "name": name,
                "i_bits": i_bits,
                "o_bits": o_bits,
                "gcd": common,
                "i_period": o_bits // common,
                "o_period": i_bits // common,
            }
        )
    for about in DMAS:
        name = f"d{about['beat']}to{about['weight_bits']}"
        units[name] = WeightDma(**about)
        # What the depth must cover: the latency and two bursts.
        latency = about["depth"] - 2 * about["burst"] - 4
        dmas.append({"name": name, "latency": min(latency, 40), **about})
    run_bench(
        Parts(units),
        "hw.memory.controllers.bench_dma",
        parameters={"gearboxes": gearboxes, "dmas": dmas},
        seed=41,
    )


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize(
    "change", [{"burst": 12}, {"burst": 512}, {"depth": 15}, {"weight_bits": 12}, {"capacity": 33}]
)
def test_dma_refuses(change: dict[str, int]) -> None:
    about = {"beat": 16, "weight_bits": 416, "capacity": 1024, "burst": 8, "depth": 64}
    with pytest.raises(ValueError, match=next(iter(change))):
        WeightDma(**(about | change))
    gc.collect()  # while Amaranth's warning of a component never used is filtered
