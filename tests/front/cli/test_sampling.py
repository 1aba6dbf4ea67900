"""Options of sampling: what the chip knows is taken, the rest refused by name."""

import pytest
from click.testing import CliRunner

from setun.backends.base import Sampling
from setun.cli import cli
from setun.firmware.errors import SetunError

VERBS = (["run", "shakespeare-small"], ["stream", "--prompt", "a"], ["demo"])


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (-1, 1.0), (1, 1.0)])
def test_values_that_change_nothing_or_are_greedy(top_k: int, top_p: float) -> None:
    sampling = Sampling(temperature=0.5, top_k=top_k, top_p=top_p)
    assert sampling.inverse_temperature == (None if top_k == 1 else 2.0)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--top-k", "40"], "top-k: must be 0 (off) or 1 (greedy), the chip samples from all"),
        (["--top-k", "-2"], "top-k: must be 0 (off) or 1"),
        (["--top-p", "0.4"], "top-p: must be 1 (off), the chip samples from all tokens; found 0.4"),
        (["--top-p", "nan"], "top-p: must be 1 (off)"),
        (["--top-k", "0", "--top-p", "0"], "top-p: must be 1 (off)"),
    ],
)
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_limits_are_refused_by_name(verb: list[str], options: list[str], line: str) -> None:
    result = CliRunner().invoke(cli, [*verb, *options])
    assert isinstance(result.exception, SetunError) and line in str(result.exception)


def test_limits_that_are_none_run() -> None:
    def text(*options: str) -> str:
        line = ["run", "shakespeare-small", "--prompt", "A", "-n", "4", "--seed", "3", *options]
        result = CliRunner().invoke(cli, line)
        assert result.exit_code == 0, result.output
        return result.stdout.splitlines()[0]

    free = text("--temperature", "2")
    assert text("--temperature", "2", "--top-k", "0", "--top-p", "1.0") == free
    assert text("--temperature", "2", "--top-k", "1") == text() != free
