"""The link with several contexts, through its pins."""

import pytest

from bench.runner import run_bench
from hw.link.toy import ToyChip


@pytest.mark.parametrize(
    ("case", "contexts"),
    [
        ("addresses", 1),
        ("addresses", 2),
        ("addresses", 4),
        ("busy", 4),
        ("repeats", 4),
        ("events", 4),
        ("stops", 4),
        ("conversations", 2),
        ("conversations", 4),
    ],
)
def test_contexts(case: str, contexts: int) -> None:
    parameters = {"divisor": 4, "contexts": contexts}
    chip = ToyChip(4, contexts)
    run_bench(chip, "hw.link.bench_contexts", parameters=parameters, testcase=case, seed=14)
