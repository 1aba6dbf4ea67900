"""The unit of attention and its parts against their twins."""

from typing import Any

import numpy as np
import pytest

from bench.pipeline import Job, check
from bench.runner import run_bench
from setun.firmware.config import ChipConfig
from setun.firmware.numerics import attention as twin
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import PRESETS
from setun.hw.attention.exponential import Exponential
from setun.hw.attention.unit import Attention

CHIPS: dict[str, dict[str, Any]] = {
    "one query": {"lanes": 2, "attention": 8, "queries": 1, "head_elements": 8},
    "words of a head": {
        "lanes": 2,
        "attention": 4,
        "queries": 2,
        "head_elements": 16,
        "contexts": 2,
    },
    "more queries than share": {
        "lanes": 4,
        "attention": 16,
        "queries": 4,
        "head_elements": 16,
        "contexts": 4,
    },
    "norms": {
        "lanes": 2,
        "attention": 4,
        "queries": 2,
        "head_elements": 16,
        "contexts": 2,
        "head_norms": 1,
    },
    "norms, one lane, lmul": {
        "lanes": 1,
        "attention": 4,
        "queries": 1,
        "head_elements": 4,
        "head_norms": 1,
        "numerics": PRESETS["lmul"],
    },
    "norms, a word a half, fp8": {
        "lanes": 8,
        "attention": 16,
        "queries": 2,
        "head_elements": 16,
        "contexts": 4,
        "head_norms": 1,
        "numerics": PRESETS["fp8"],
    },
    "the paper's lmul": {
        "lanes": 2,
        "attention": 4,
        "queries": 2,
        "head_elements": 8,
        "contexts": 2,
        "numerics": PRESETS["lmul-paper"],
    },
    "one lane, lmul": {
        "lanes": 1,
        "attention": 2,
        "queries": 3,
        "head_elements": 4,
        "numerics": PRESETS["lmul"],
    },
}
QUICK = {"words of a head", "more queries than share", "norms", "one lane, lmul"}


def chip(name: str) -> ChipConfig:
    options = {"columns": 16, "rows": 16, "terminal": 0, "positions": 12} | CHIPS[name]
    head = options["head_elements"]
    config = ChipConfig(**options, cache_elements=128, vector_elements=320)
    assert 2 * 2 * 2 * head <= config.cache_elements  # two layers of keys and values of two heads
    return config


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in CHIPS]
)
def test_commands(name: str) -> None:
    config = chip(name)
    run_bench(
        Attention(config),
        "hw.attention.bench_attention",
        parameters={"config": config.to_dict()},
    )


class Powers(Exponential):
    """To be driven as units on floats are."""

    fmt = Format()


def test_every_fraction() -> None:
    check([Job(name="exp2", unit=Powers(), inputs=(np.arange(1 << twin.SCORE_FRACTION),))])
