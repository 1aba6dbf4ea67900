"""Whole chips with every numeric option: tokens and states as golden's, on every bit."""

from collections.abc import Callable
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest

from bench.folders import VECTORS
from setun.backends import GoldenBackend, Sampling, SimulatedBackend
from setun.backends.simulated import simulated_config
from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import sized_for
from setun.firmware.link import identity
from setun.firmware.models.checkpoint import load_checkpoint
from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.numerics.options import PRESETS, Numerics
from setun.models.load import load_model

OPTIONS: dict[str, list[Any]] = {
    "activation": [
        {"activation": "int8"},
        {"activation": "fp8"},
        {"activation": "fp8", "accumulate": "none"},
        {"activation": "fp8", "accumulate": 16},
    ],
    "multiplier": [
        {"multiplier": "exact"},
        {"multiplier": "lmul"},
        {"multiplier": "lmul", "segments": 3},
    ],
    "state_rounding": [{}, {"state_rounding": "stochastic", "state_seed": 7}],
    "state_mantissa": [{}, {"state_mantissa": 6}, {"state_mantissa": 12}],
    "vector": [{"vector": [8, 9]}, {"vector": [6, 9]}, {"vector": [8, 7]}],
}
Choice = tuple[int, ...]  # of each option


def pairs(choice: Choice) -> set[tuple[int, int, int, int]]:
    """Pairs of values of different options."""
    return {(i, a, j, b) for (i, a), (j, b) in combinations(enumerate(choice), 2)}


def everything() -> list[Choice]:
    return list(product(*(range(len(values)) for values in OPTIONS.values())))


def singles(choice: Choice) -> set[tuple[int, int]]:
    """Values of a choice, each with its option."""
    return set(enumerate(choice))


def cover(parts: Callable[[Choice], set[Any]], choices: list[Choice]) -> list[Choice]:
    """Few of `choices` that hold all parts of them; the same every time."""
    chosen, left = [], set().union(*(parts(c) for c in choices))
    while left:
        best = max(choices, key=lambda c: (len(parts(c) & left), c))
        chosen.append(best)
        left -= parts(best)
    return chosen


def numerics(choice: Choice) -> Numerics:
    options: dict[str, Any] = {}
    for values, index in zip(OPTIONS.values(), choice, strict=True):
        options |= values[index]
    return Numerics.from_dict(options)


def name(choice: Choice) -> str:
    options = numerics(choice).to_dict()
    return "-".join(str(v).replace(" ", "") for v in options.values())


def check(image: Image, chosen: Numerics, count: int, **shape: Any) -> None:
    base = ChipConfig(**{"columns": 16, "rows": 8, "lanes": 4, **shape}, numerics=chosen)
    chip = SimulatedBackend(image, simulated_config(sized_for(image, base)))
    try:
        assert identity.decode(chip._serial.client.info()).numerics == chosen
        for prompt, sampling in (([3, 1, 4], Sampling()), ([2], Sampling(temperature=0.9, seed=5))):
            golden = GoldenBackend(image, chosen)
            wanted = list(golden.generate(prompt, count, sampling))
            assert list(chip.generate(prompt, count, sampling)) == wanted
            assert np.array_equal(chip.state(), golden.model.state)
    finally:
        chip.close()


COVER = cover(pairs, everything())
QUICK = cover(singles, COVER)


def test_the_cover_holds_every_pair() -> None:
    wanted = set().union(*(pairs(c) for c in everything()))
    assert set().union(*(pairs(c) for c in COVER)) == wanted
    assert len(COVER) < len(everything()) / 8
    assert set().union(*(singles(c) for c in QUICK)) == set().union(*(singles(c) for c in COVER))
    assert len(QUICK) < len(COVER) / 2


@pytest.mark.parametrize(
    "choice",
    [pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in COVER],
    ids=name,
)
def test_small_model(choice: Choice) -> None:
    check(compile_checkpoint(load_checkpoint(VECTORS / "a_h64_l2")), numerics(choice), 8)


@pytest.mark.slow
@pytest.mark.parametrize("choice", [c for c in everything() if c not in COVER], ids=name)
def test_small_model_with_all_options(choice: Choice) -> None:
    check(compile_checkpoint(load_checkpoint(VECTORS / "a_h64_l2")), numerics(choice), 8)


def test_codes_added_one_by_one() -> None:
    """A running sum of the paper's kind, for comparison: one column at a time."""
    chosen = Numerics(activation="fp8", accumulate=1)
    image = compile_checkpoint(load_checkpoint(VECTORS / "a_h64_l2"))
    check(image, chosen, 4, columns=1, rows=8, lanes=1)


@pytest.mark.parametrize(
    "preset",
    [
        pytest.param(n, marks=() if n == "all-four" else pytest.mark.slow)
        for n in PRESETS
        if n != "default"
    ],
)
@pytest.mark.many_cycles
def test_demo_model(preset: str) -> None:
    check(load_model("shakespeare"), PRESETS[preset], 4, columns=32, rows=16, lanes=8)


@pytest.mark.slow
@pytest.mark.parametrize("choice", COVER, ids=name)
def test_demo_model_with_each_pair(choice: Choice) -> None:
    check(load_model("shakespeare"), numerics(choice), 4)
