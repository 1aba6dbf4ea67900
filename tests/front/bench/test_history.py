"""`setun bench --history`: a line for each board whose chip is another, and their picture."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from setun import cli
from setun.bench import history
from setun.bench.history import FIELDS, grown, read, tokens
from setun.estimate.boards import FILE
from setun.estimate.cells import data
from setun.firmware.errors import SetunError

SHIPPED = Path(__file__).parents[3] / "docs/history.jsonl"


def test_the_repository_has_the_history_of_what_it_ships() -> None:
    """Its latest lines are today's builds: a chip that is built anew belongs into it."""
    lines = read(SHIPPED)
    assert grown(lines, data(FILE), "now", "today") == lines
    assert len({line["commit"] for line in lines}) > 5


def test_a_line_for_each_chip_that_is_another() -> None:
    builds = data(FILE)
    first = grown([], builds, "a1", "2026-01-01")
    assert len(first) == len(builds) and grown(first, builds, "b2", "2026-01-02") == first
    changed: list[dict[str, Any]] = [builds[0] | {"fmax_mhz": 99.0}, *builds[1:]]
    (new,) = grown(first, changed, "b2", "2026-01-02")[len(first) :]
    assert (new["commit"], new["board"], new["fmax_mhz"]) == ("b2", builds[0]["board"], 99.0)
    assert tokens(new) == builds[0]["clock_mhz"] * 1e6 / builds[0]["cycles_per_token"]


def test_a_package_in_another_projects_folder_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert history.here() != (history.UNKNOWN, history.UNKNOWN)
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, *command], cwd=tmp_path, check=True)
    (tmp_path / "history.py").touch()
    monkeypatch.setattr(history, "__file__", str(tmp_path / "history.py"))
    assert history.here() == (history.UNKNOWN, history.UNKNOWN)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    file, drawn = tmp_path / "h.jsonl", tmp_path / "h.svg"
    line = ["bench", "--history", str(file), "--plot", str(drawn), "--json"]
    assert cli.run(line) == 0
    new = json.loads(capsys.readouterr().out)
    assert {each["board"] for each in new} == {each["board"] for each in data(FILE)}
    assert read(file) == new and b"<svg" in drawn.read_bytes()
    picture = drawn.read_bytes()
    assert cli.run(line) == 0 and json.loads(capsys.readouterr().out) == []
    assert read(file) == new and drawn.read_bytes() == picture


@pytest.mark.parametrize("text", ["[]", "{", '{"commit": "a"}', "7", "\xff"])
def test_other_files_are_refused_and_stay(text: str, tmp_path: Path) -> None:
    file = tmp_path / "h.jsonl"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(SetunError, match="must be a"):
        read(file)
    assert cli.run(["bench", "--history", str(file)]) == 1
    assert file.read_bytes() == text.encode("latin-1")


def test_a_history_is_not_of_simulated_chips(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench", "--history", "x", "--config", "qspi"]) == 1
    assert "history: is of builds" in capsys.readouterr().err
    assert all(key in data(FILE)[0] for key in FIELDS)
