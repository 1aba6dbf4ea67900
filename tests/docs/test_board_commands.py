"""Commands of the docs that want a board: programmed, loaded and talked to, on simulated chips."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.folders import ROOT
from docs import pages
from docs.desk import Desk
from docs.pages import Shown
from setun import boards

pytestmark = pytest.mark.many_cycles

QUICKSTART = "docs/quickstart.md"
VERBS = ("flash", "load", "stream")
SMALL = "icebreaker"  # its chip simulates fast
BOARDS = [name for name in boards.names() if boards.get(name).has_fpga]


def of_boards(page: Path) -> Iterator[tuple[str, Shown]]:
    """Commands of a page that want a board, with the board last named."""
    board = SMALL
    for command in pages.blocks(page):
        named = re.search(r"--board (\S+)", command.text)
        board = named[1] if named else board
        if command.words[0] == "setun" and {*VERBS, "serial"} & set(command.words):
            yield board, command


def quick() -> list[tuple[str, Shown]]:
    """Those that the small chip answers, each once: the quick start's first, from power-on.

    What the quick start promises of other boards' chips is `test_on_each_boards_chip`'s.
    """
    found: dict[tuple[str, str], tuple[str, Shown]] = {}
    for page in [ROOT / QUICKSTART, *pages.pages()]:
        for board, command in of_boards(page):
            other = pages.name(page) == QUICKSTART and board != SMALL
            if command.words[1] == "flash" or not other:
                found.setdefault(
                    (" ".join(command.words), "\n".join(command.output)), (board, command)
                )
    return list(found.values())


def built() -> set[str]:
    """Folders that the builds of the docs write."""
    shown = [command.words for page in pages.pages() for command in pages.blocks(page)]
    builds = [words for words in shown if words[:2] == ["setun", "build"]]
    return {words[words.index("-o") + 1] for words in builds}


def run(desk: Desk, board: str, command: Shown, *, promised: bool) -> None:
    where = f"{command.page}:{command.line}: {command.text}"
    before = desk.programmed
    if command.words[1] == "flash":
        (folder,) = built() & set(command.words)
        desk.build(board, folder)
    status, out, error = desk.type(command)
    assert status == 0, f"{where}\n{error}"
    if promised and command.output:
        assert pages.agrees(command.output, out), f"{where}\n{out}"
    if command.words[1] == "flash":
        new = desk.programmed[len(before) :]
        assert bool(new) is ("--dry-run" not in command.words), where
        assert all(boards.get(board).programmer in line for line in new)
    elif command.words[1] == "load":
        assert "verified" in out
    else:
        assert out.strip(), where


def test_on_the_small_chip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(SMALL, tmp_path, monkeypatch)
    assert {command.words[1] for _, command in quick()} == {*VERBS, "run"}
    with desk.powered():
        for board, command in quick():
            run(desk, board, command, promised=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", BOARDS)
def test_on_each_boards_chip(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick start of each board, on its own chip, from power-on."""
    desk = Desk(name, tmp_path, monkeypatch)
    commands = [c for board, c in of_boards(ROOT / QUICKSTART) if board == name]
    assert {"flash", "stream"} <= {c.words[1] for c in commands}
    with desk.powered():
        for command in commands:
            run(desk, name, command, promised=True)


def test_quick_start_is_what_its_command_prints() -> None:
    """Text that a chip would stream comes from the golden model, sizes from the memory layout."""
    assert (ROOT / QUICKSTART).read_text("utf-8") == pages.maker("quickstart_page").page()


def test_every_board_has_its_section() -> None:
    text = (ROOT / QUICKSTART).read_text("utf-8")
    for name in boards.names():
        assert f"\n## {boards.get(name).label}\n" in text
        assert f"setun build --board {name} " in text


def test_a_wrong_promise_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(SMALL, tmp_path, monkeypatch)
    line = f"setun flash --board {SMALL} --to flash --dry-run out"
    with pytest.raises(AssertionError):
        run(desk, SMALL, Shown("", 0, line, ["openFPGALoader --board other"]), promised=True)
    with pytest.raises(AssertionError, match="setun stream"):
        run(desk, SMALL, Shown("", 0, "setun stream"), promised=True)  # no chip: no port
