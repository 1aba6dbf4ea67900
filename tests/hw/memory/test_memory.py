"""Stores, weight reader and weight unpackers against lists and the packers of the firmware."""

from typing import Any

import numpy as np

from bench.harness import Parts, Unpackers, WeightPath
from bench.runner import run_bench
from setun.firmware.config import ChipConfig
from setun.firmware.numerics.ternary import TRIT_DECODE, pack_2b, pack_trits
from setun.hw.memory.blocks import segments
from setun.hw.memory.store import Store

PERIOD_STEPS = 10_000  # of the benches' clock, in picoseconds

# Element bits, elements, depth: words of 13 and of 4 elements, single elements, pairs.
STORES = [(32, 13, 530), (32, 4, 40), (16, 1, 600), (18, 2, 3)]
WRITABLE = [(18, 8, 40), (17, 1, 530)]
CONFIGS = [
    ChipConfig(columns=p, rows=q, lanes=1, packing=packing)
    for p, q in ((4, 4), (8, 4), (1, 1), (2, 1))
    for packing in ("2b", "1.6b")
]


def words(rng: np.random.Generator, count: int, width: int) -> list[int]:
    data = rng.bytes(count * ((width + 7) // 8))
    step = len(data) // count
    mask = (1 << width) - 1
    return [int.from_bytes(data[k : k + step], "little") & mask for k in range(0, len(data), step)]


def parts() -> tuple[Parts, dict[str, object]]:
    """Every unit of this file in one component, and what the benches must know of them."""
    rng = np.random.default_rng(31)
    units, stores, writable, paths = {}, [], [], []
    for element, elements, depth in STORES:
        about: dict[str, Any] = {"element": element, "elements": elements, "depth": depth}
        init = words(rng, min(depth, 20), element * elements)
        name = f"s{element}x{elements}x{depth}"
        units[name] = Store(name, init=init, **about)
        stores.append({"name": name, "init": init, **about})
    for element, elements, depth in WRITABLE:
        about = {"element": element, "elements": elements, "depth": depth}
        name = f"w{element}x{elements}x{depth}"
        units[name] = Store(name, writable=True, **about)
        writable.append({"name": name, **about})
    for element, elements, depth, contexts in ((32, 2, 600, 1), (16, 2, 130, 4), (8, 1, 40, 2)):
        about = {"element": element, "elements": elements, "depth": depth}
        contents = words(rng, depth, element * elements)
        name = f"p{element}x{elements}x{depth}"
        store = Store(name, far=True, **about)
        units[name] = WeightPath(store, ChipConfig(contexts=contexts))
        paths.append(
            {
                "name": name,
                "words": contents,
                "period": PERIOD_STEPS,
                "contexts": contexts,
                **about,
            }
        )
    units["unpackers"] = Unpackers(CONFIGS)
    return Parts(units), {
        "stores": stores,
        "writable": writable,
        "paths": paths,
        "configs": len(CONFIGS),
    }


def test_memory() -> None:
    rng = np.random.default_rng(32)
    arrays: dict[str, np.ndarray] = {"decode": TRIT_DECODE}
    for k, config in enumerate(CONFIGS):
        codes = rng.integers(-1, 2, (60, config.macs)).astype(np.int8)
        pack = pack_2b if config.packing == "2b" else pack_trits
        arrays |= {f"codes{k}": codes.astype(np.int64), f"packed{k}": pack(codes)}
    component, parameters = parts()
    run_bench(component, "hw.memory.bench_memory", parameters=parameters, arrays=arrays, seed=31)


def test_segments_cover_the_depth() -> None:
    for depth in [1, 2, 511, 512, 513, 700, 1024, 1025, 2049, 5000, 12345]:
        for width in (1, 9, 18, 128, 1024):
            parts = segments(depth, width)
            assert sum(parts) >= depth
            assert sum(parts[:-1]) < depth
            assert sorted(parts, reverse=True) == parts
