"""Sampler against its twin."""

from typing import Any

import numpy as np
import pytest

from bench.runner import run_bench
from setun.firmware.config import ChipConfig
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import seed_state
from setun.firmware.numerics.options import Numerics
from setun.hw.vector.sampler import Sampler


@pytest.mark.parametrize(
    ("lanes", "fmt", "multiplier", "contexts", "memory"),
    [
        (1, (8, 9), "exact", 1, "onchip"),
        (4, (6, 9), "exact", 2, "onchip"),
        (2, (8, 9), "exact", 4, "sdram-16"),
        (8, (8, 7), "exact", 1, "onchip"),
        (4, (8, 9), "lmul", 2, "onchip"),
        pytest.param(8, (8, 9), "exact", 4, "onchip", marks=pytest.mark.slow),
    ],
)
def test_tokens(
    lanes: int, fmt: tuple[int, int], multiplier: str, contexts: int, memory: str
) -> None:
    numerics = Numerics(vector=Format(*fmt), multiplier=multiplier)
    vector = numerics.vector
    rng = np.random.default_rng(71)
    jobs: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    config = ChipConfig(
        lanes=lanes,
        columns=lanes,
        rows=2 * lanes,
        numerics=numerics,
        contexts=contexts,
        memory=memory,
    )
    unit = Sampler(config)

    def add(kind: str, logits: np.ndarray, temperature: float | None, seed: int = 0) -> None:
        k = len(jobs)
        bits = vector.to_bits(logits.ravel()).astype(np.int64).reshape(logits.shape)
        factor = None if temperature is None else int(vector.to_bits(1.0 / temperature)[0])
        tokens, generator = [], seed_state(seed)
        for row in bits:
            token, generator = unit.model(row, factor, generator)
            tokens.append(token)
        arrays[f"logits{k}"], arrays[f"tokens{k}"] = bits, np.array(tokens)
        gaps = (0,) if k % 2 else (0, 0, 1, 7)
        jobs.append({"kind": kind, "factor": factor, "seed": seed_state(seed), "gaps": gaps})

    def usual(tokens: int, count: int) -> np.ndarray:
        return rng.normal(0, 3, (tokens, count))

    for count in (1, 2, 65, 8 * lanes):
        add("greedy", usual(4, count), None)
        add("sampled", usual(6, count), 0.8, seed=count)
    # Ties: the lowest index wins, wherever the equals lie.
    tied = rng.choice([-1.5, 0.0, 2.25], (6, 37))
    add("greedy ties", tied, None)
    add("all equal", np.zeros((3, 37)), None)
    add("all equal, sampled", np.zeros((12, 37)), 1.0, seed=5)
    add("all negative", -abs(usual(4, 37)) - 0.1, None)
    add("first or last", np.where(np.arange(37) % 36 == 0, 5.0, -5.0)[None].repeat(4, 0), 0.5)
    for temperature in (0.05, 20.0):
        add(f"temperature {temperature}", usual(6, 65), temperature, seed=9)
    # Keys saturate at 2048.
    add("saturated", usual(6, 33) * 2000, 0.5, seed=3)
    add("bounds", rng.choice([vector.largest, -vector.largest, vector.smallest], (4, 33)), None)
    for seed in (0, 1, 0xFFFFFFFF):
        add(f"seed {seed}", usual(3, 65), 1.0, seed=seed)
    assert len({tuple(arrays[f"tokens{k}"]) for k in range(len(jobs))}) > 10
    # Contexts that are sampled in one pass have one vocabulary.
    batches: list[list[int]] = []
    counts = [arrays[f"logits{k}"].shape[1] for k in range(len(jobs))]
    for count in sorted(set(counts)):
        same = [k for k in rng.permutation(len(jobs)).tolist() if counts[k] == count]
        batches += [same[k : k + contexts] for k in range(0, len(same), contexts)]
    parameters = {"config": config.to_dict(), "generations": jobs, "batches": batches}
    run_bench(unit, "hw.vector.bench_sampler", parameters=parameters, arrays=arrays, seed=71)
