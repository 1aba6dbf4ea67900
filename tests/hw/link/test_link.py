"""The link gateware through its pins, and the host client on it."""

import pytest

from bench.runner import run_bench
from hw.link.toy import ToyChip


def run(case: str, contexts: int, seed: int, divisor: int = 4, **more: float) -> None:
    parameters = {"divisor": divisor, "contexts": contexts, **more}
    chip = ToyChip(divisor, contexts)
    run_bench(chip, "hw.link.bench_link", parameters=parameters, testcase=case, seed=seed)


@pytest.mark.parametrize(
    ("case", "contexts"),
    [("client", 1), ("noisy_client", 1), ("noisy_client", 4), ("statuses", 1), ("refusals", 1)],
)
def test_link(case: str, contexts: int) -> None:
    run(case, contexts, seed=11)


@pytest.mark.parametrize("contexts", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_link_fuzz(contexts: int) -> None:
    run("fuzz", contexts, seed=12, frames=2000)


@pytest.mark.parametrize("rate", [0.98, 1.02])
@pytest.mark.parametrize("divisor", [pytest.param(4, marks=pytest.mark.slow), 16])
def test_link_fuzz_off_the_rate(divisor: int, rate: float) -> None:
    """The host's clock is 2 % off: good frames are all answered, damaged ones change nothing."""
    run("fuzz", 1, seed=15, divisor=divisor, frames=100, rate=rate)


@pytest.mark.slow
@pytest.mark.parametrize("contexts", [1, 4])
def test_link_fuzz_long(contexts: int) -> None:
    run("fuzz", contexts, seed=13, divisor=5, frames=10_000)
