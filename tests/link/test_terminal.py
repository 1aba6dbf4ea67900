"""The terminal in the link, through its pins."""

from bench.runner import run_bench

from link.person import text_words
from link.toy import ToyChip


def run(case: str, seed: int, *, divisor: int = 4, count: int = 9, **more: int | bool) -> None:
    whole, newline = bool(more.pop("whole", False)), bool(more.pop("newline", True))
    text = text_words(count, seed, whole=whole, newline=newline)
    parameters = {"divisor": divisor, "text": text, **more}
    chip = ToyChip(divisor, 1, text)
    run_bench(chip, "link.bench_terminal", parameters=parameters, testcase=case, seed=seed)


def test_lines() -> None:
    run("lines", 31, lines=12)
