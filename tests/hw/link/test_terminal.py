"""The terminal in the link, through its pins."""

import pytest

from bench.runner import run_bench
from hw.link.person import text_words
from hw.link.toy import ToyChip
from setun.firmware.image.terminal_tables import SETTINGS, WORDS


def run(
    case: str, seed: int, text: list[int], *, divisor: int = 4, shared: bool = False, **more: int
) -> None:
    parameters = {"divisor": divisor, "text": text, **more}
    chip = ToyChip(divisor, 1, text, shared=shared)
    run_bench(chip, "hw.link.bench_terminal", parameters=parameters, testcase=case, seed=seed)


@pytest.mark.parametrize("shared", [False, True])
def test_lines(shared: bool) -> None:
    run("lines", 31, text_words(9, 31), shared=shared, lines=12)


@pytest.mark.slow
@pytest.mark.parametrize("newline", [True, False])
def test_many_lines(newline: bool) -> None:
    run("lines", 32, text_words(40, 32, newline=newline), divisor=5, lines=150)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_turns(shared: bool) -> None:
    # The core's, of a shared memory, is up to twice as long.
    run("turns", 33, text_words(9, 33), shared=shared, silence=40 if shared else 20)


def test_stops() -> None:
    run("stops", 34, text_words(0xFFFF, 34, whole=True), answers=12)


@pytest.mark.slow
def test_many_stops() -> None:
    run("stops", 35, text_words(0xFFFF, 35, whole=True), answers=300)


def test_blank_memory() -> None:
    run("blank", 36, [0] * WORDS)


@pytest.mark.slow
def test_blank_settings() -> None:
    text = text_words(9, 37)
    text[SETTINGS:] = [0] * (WORDS - SETTINGS)
    text[ord("z")] = 0x100 | 7
    run("refused", 37, text)
