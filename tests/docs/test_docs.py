"""The documentation: it builds, its links hold, and its commands do what it says."""

import contextlib
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bench.folders import ROOT, TEXT
from docs import pages
from docs.pages import Shown
from docs.runners import BUILDS, INLINE, QUICK, RUNS, SLOW, form, runner
from setun import boards
from setun.cli import cli
from setun.estimate import measure

# Names in the docs that stand for what a reader has.
STANDS_FOR = {
    "FILE": TEXT,
    "DIR": ROOT / "setun/models/shakespeare",
}
LIMIT = 7200  # s; the longest places four chips of an 85F


@functools.cache
def shown() -> list[Shown]:
    """Every command of every block."""
    return [command for page in pages.pages() for command in pages.blocks(page)]


def test_site_is_built_and_its_links_hold(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Architecture" in (tmp_path / "site/index.html").read_text("utf-8")


def parsed(command: Shown, *, whole: bool) -> None:
    """Refuse a command whose verb or options there are none of, or that is not `whole`."""
    words = command.words
    if words[0] == "python":
        module = words[1] == "-m" and importlib.util.find_spec(words[2])
        assert module or (ROOT / words[1]).is_file(), command
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
        parsed(command, whole=not form(command))
    for command in pages.blocks(page):
        if command.words[0] in ("setun", "python"):
            parsed(command, whole=True)


def run(command: Shown, folder: Path) -> None:
    """Run a command as a reader would; its output is as promised."""
    words = [str(STANDS_FOR.get(word, word)) for word in command.words]
    words = [str(ROOT / word) if word.startswith("docs/make/") else word for word in words]
    bin_folder = str(Path(sys.executable).parent)
    done = subprocess.run(
        words,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": bin_folder + os.pathsep + os.environ["PATH"], "COLUMNS": "100"},
    )
    where = f"{command.page}:{command.line}: {command.text}"
    assert done.returncode == 0, f"{where}\n{done.stderr}"
    if any(line.strip() for line in command.output):
        assert pages.agrees(command.output, done.stdout), f"{where}\n{done.stdout}"


def of(test: str) -> dict[str, list[Shown]]:
    """Commands of each page that this test runs, in their order; what they need, before them."""
    reused = {
        (command.page, command.words[command.words.index("--reuse") + 1])
        for command in shown()
        if runner(command) == test and "--reuse" in command.words
    }
    found: dict[str, list[Shown]] = {}
    for command in shown():
        needed = runner(command) == BUILDS and (command.page, command.words[-1]) in reused
        if needed or runner(command) in (test, QUICK):
            found.setdefault(command.page, []).append(command)
    return {page: all_ for page, all_ in found.items() if test in map(runner, all_)}


done_already: set[str] = set()


@pytest.mark.parametrize("page", of(QUICK))
def test_quick_commands_run(page: str, tmp_path: Path) -> None:
    for command in of(QUICK)[page]:
        # A page's commands work on what its earlier ones left, but for those that write nothing.
        writes = "-o" in command.words or command.words[1] == "inspect"
        key = " ".join([*command.words, *command.output])
        if writes or key not in done_already:
            run(command, tmp_path)
            done_already.add(key)


def scripted() -> list[Path]:
    """Pages with blocks of Python, but for what tests/front/cli/test_serve.py runs."""
    return [page for page in pages.pages() if pages.scripts(page) and page.name != "serve.md"]


@pytest.mark.parametrize("page", scripted(), ids=pages.name)
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
@pytest.mark.parametrize("page", of(SLOW))
def test_all_commands_run(page: str, tmp_path: Path) -> None:
    for command in of(SLOW)[page]:
        run(command, tmp_path)


def inlined() -> list[Shown]:
    """Whole commands between back quotes, each once, but for those that stand in a block too."""
    blocks = {" ".join(command.words) for command in shown()}
    found = {
        text: command
        for page in pages.pages()
        for command in pages.inline(page)
        if not form(command) and (text := " ".join(command.words)) not in blocks
    }
    return list(found.values())


@pytest.mark.slow
@pytest.mark.timeout(4 * LIMIT)
@pytest.mark.parametrize(
    "command",
    [c for c in inlined() if runner(c) in (INLINE, SLOW, QUICK)],
    ids=lambda command: command.text,
)
def test_inline_commands_run(command: Shown, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()  # into which plots go
    shutil.copy(ROOT / "README.md", tmp_path)  # into which tables go
    run(command, tmp_path)


def test_every_command_is_run_by_a_test() -> None:
    """Each has a line in the table, and the test that it names is there."""
    for command in [*shown(), *inlined()]:
        test = runner(command)
        assert test, f"{command.page}:{command.line}: {command.text}: no line in runners.py"
        path, _, function = test.partition("::")
        assert f"def {function}(" in (ROOT / path).read_text("utf-8"), test
    used = {runner(command) for command in [*shown(), *inlined()]}
    assert used == {test for _, test in RUNS}, "a line that no command needs"
    assert runner(Shown("", 0, "rm -r out")) is None


def test_builds_in_the_docs_are_of_a_board_and_its_model() -> None:
    """What tests/hw/fpga/test_boards.py builds: the board's chip with the board's model."""
    for command in [*shown(), *inlined()]:
        if runner(command) == BUILDS:
            words = command.words
            board = boards.get(words[words.index("--board") + 1])
            model = words[words.index("--model") + 1] if "--model" in words else "shakespeare"
            assert model == board.model, command


def test_make_does_what_its_lines_say() -> None:
    lines = {
        "demo": "setun demo",
        "serve": "setun serve --backend sim",
        "test": "pytest -n auto",
        "lint": "ruff check .",
    }
    for command in shown():
        if command.words[0] == "make":
            done = subprocess.run(
                [*command.words, "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True
            )
            assert f"/{lines[command.words[1]]}" in done.stdout
    gate = (ROOT / ".ci/run").read_text("utf-8")
    assert "\nmake lint\n" in gate and "\nmake test\n" in gate and "setun demo" in gate


def test_measuring_again_finds_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m setun.estimate.measure` on a copy: all netlists are there."""
    for name in ("units.json", "builds.json", "boards.json"):
        shutil.copy(measure.FOLDER / name, tmp_path)
    before = (tmp_path / "units.json").read_bytes()
    monkeypatch.setattr(measure, "FOLDER", tmp_path)
    monkeypatch.setattr("sys.argv", ["measure"])
    measure.main()
    assert (tmp_path / "units.json").read_bytes() == before
    assert capsys.readouterr().err == ""


def test_promises_that_are_not_kept_are_seen() -> None:
    assert pages.agrees(["a … c", "…", "end"], "a b c\nmore\nend\n")
    assert not pages.agrees(["a … c"], "a b d\n")
    assert not pages.agrees(["12 tokens"], "13 tokens\n")
