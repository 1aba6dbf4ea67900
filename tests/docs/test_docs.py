"""The documentation: it builds, its links hold, and its commands do what it says."""

import contextlib
import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from docs import pages
from docs.pages import ROOT, Shown
from setun.cli import cli

# Names in the docs that stand for what a reader has.
STANDS_FOR = {
    "FILE": ROOT.parent / "shared/data/tinyshakespeare.txt",
    "DIR": ROOT.parent / "shared/models/shakespeare-1.3m",
}
# Run by `.ci/run` from a clean checkout, or changes the machine.
ELSEWHERE = ("git", "make", "pip", "sudo", "cd", "source")
# More than some seconds: synthesis, or a chip to compile.
SLOW = ("build", "bench", "demo")
# Want a board on a cable: parsed, and tried in tests/board.
BOARD = ("flash", "load", "stream")
LIMIT = 3600  # s


def slow(words: list[str]) -> bool:
    """Whether a command takes a tool chain or a simulated chip."""
    if words[0] == "python":
        return True
    if words[1] in SLOW:
        return "--dry-run" not in words and "--help" not in words
    if words[1] == "eval" and "--tokens" not in words:
        return True
    return "sim" in words or "serial" in words or "--port" in words


@functools.cache
def shown() -> list[Shown]:
    """Every command of every block."""
    return [command for page in pages.pages() for command in pages.blocks(page)]


def test_site_is_built_and_its_links_hold(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Architecture" in (tmp_path / "site/index.html").read_text("utf-8")


def parsed(command: Shown, *, whole: bool) -> None:
    """Refuse a command whose verb or options there are none of, or that is not `whole`."""
    words = command.words
    if words[0] == "python":
        assert words[1] == "-m" and importlib.util.find_spec(words[2]), command
        return
    assert words[0] == "setun", command
    if words[1:] in (["--help"], ["--version"]):
        return
    verb = cli.get_command(click.Context(cli), words[1])
    assert verb is not None, command
    if "--help" not in words:
        with contextlib.nullcontext() if whole else contextlib.suppress(click.MissingParameter):
            verb.make_context(words[1], words[2:])


@pytest.mark.parametrize("page", pages.pages(), ids=pages.name)
def test_commands_are_such(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for word in ("FILE", "FILE.toml", "M.setun", "ids.npy"):
        (tmp_path / word).touch()
    for word in ("DIR", "out"):
        (tmp_path / word).mkdir()
    for command in pages.inline(page):
        parsed(command, whole=False)
    for command in pages.blocks(page):
        if command.words[0] not in ELSEWHERE:
            parsed(command, whole=True)


def run(command: Shown, folder: Path) -> None:
    """Run a command as a reader would; its output is as promised."""
    words = [str(STANDS_FOR.get(word, word)) for word in command.words]
    bin_folder = str(Path(sys.executable).parent)
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": bin_folder + os.pathsep + os.environ["PATH"], "COLUMNS": "100"},
    )  # fmt: skip
    where = f"{command.page}:{command.line}: {command.text}"
    assert done.returncode == 0, f"{where}\n{done.stderr}"
    if any(line.strip() for line in command.output):
        assert pages.agrees(command.output, done.stdout), f"{where}\n{done.stdout}"


def runnable() -> dict[str, list[Shown]]:
    """Commands of each page, in their order."""
    found: dict[str, list[Shown]] = {}
    for command in shown():
        if command.words[0] not in ELSEWHERE and command.words[1] not in BOARD:
            found.setdefault(command.page, []).append(command)
    return found


@pytest.mark.parametrize("page", runnable())
def test_quick_commands_run(page: str, tmp_path: Path) -> None:
    for command in runnable()[page]:
        if not slow(command.words):
            run(command, tmp_path)


@pytest.mark.parametrize("page", [p for p in pages.pages() if pages.scripts(p)], ids=pages.name)
def test_scripts_run(page: Path, tmp_path: Path) -> None:
    for script in pages.scripts(page):
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0 and done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(4 * LIMIT)
@pytest.mark.parametrize("page", runnable())
def test_all_commands_run(page: str, tmp_path: Path) -> None:
    for command in runnable()[page]:
        run(command, tmp_path)


def test_promises_that_are_not_kept_are_seen() -> None:
    assert pages.agrees(["a … c", "…", "end"], "a b c\nmore\nend\n")
    assert not pages.agrees(["a … c"], "a b d\n")
    assert not pages.agrees(["12 tokens"], "13 tokens\n")
