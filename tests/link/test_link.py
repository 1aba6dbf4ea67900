"""The link gateware through its pins, and the host client on it."""

import pytest
from bench.runner import run_bench

from link.toy import ToyChip


@pytest.mark.parametrize("case", ["client", "noisy_client", "statuses", "refusals"])
def test_link(case: str) -> None:
    run_bench(ToyChip(4), "link.bench_link", parameters={"divisor": 4}, testcase=case, seed=11)


def test_link_fuzz() -> None:
    run_bench(
        ToyChip(4),
        "link.bench_link",
        parameters={"divisor": 4, "frames": 2000},
        testcase="fuzz",
        seed=12,
    )


@pytest.mark.slow
def test_link_fuzz_long() -> None:
    run_bench(
        ToyChip(5),
        "link.bench_link",
        parameters={"divisor": 5, "frames": 10_000},
        testcase="fuzz",
        seed=13,
    )
