"""A new user's first minutes: a wheel in a fresh environment, nothing else there."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from inspect import cleandoc
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner
from serial.tools import list_ports

from bench.folders import ROOT
from docs import pages
from docs.runners import INSTALL, runner
from setun import boards, cli, models, recipes
from setun.cli import completion
from setun.cli.caches import ensure_cache
from setun.firmware.errors import nearest
from test_package import FOLDERS, PROJECT

WHEEL_MB = 10
INSTALL_SECONDS = 900  # on a machine that does other things too


def typed() -> list[str]:
    """What the docs say to type before there is a `setun`, each line once."""
    found = [c for page in pages.pages() for c in pages.blocks(page) if runner(c) == INSTALL]
    return list(dict.fromkeys(c.text.partition("  #")[0] for c in found))


def test_extras_of_the_docs_are_there() -> None:
    for line in typed():
        for extra in line.partition("[")[2].partition("]")[0].split(","):
            assert not extra or extra in PROJECT["project"]["optional-dependencies"], line


def test_the_command_is_what_python_dash_m_runs() -> None:
    assert PROJECT["project"]["scripts"] == {"setun": "setun.__main__:main"}


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["biuld"], "build"),
        (["strem"], "stream"),
        (["estimate", "--board", "icebreker"], "icebreaker"),
        (["flash", "out", "--board", "ulx3s85f"], "ulx3s-85f"),
        (["run", "shakespere", "--prompt", "A"], "shakespeare"),
        (["load", "shakespear-small"], "shakespeare-small"),
        (["bench", "--config", "onchp-256"], "onchip-256"),
        (["generate", "-o", "out", "--set", "colums=3"], "columns"),
        (["generate", "-o", "out", "--numerics", "lmull"], "lmul"),
    ],
)
def test_a_slip_of_the_finger_is_told_what_was_meant(
    words: list[str],
    meant: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(words) in (1, 2)
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and f"did you mean {meant}?" in err
    assert list(tmp_path.iterdir()) == []


def test_what_is_like_nothing_gets_no_hint() -> None:
    assert nearest("zzz", ["build", "run"]) == ""
    assert nearest("bulid", iter(["build", "run"])) == "did you mean build?"


@pytest.mark.parametrize("name", list(cli.VERBS))
def test_help_has_examples_that_can_be_typed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verb = cli.cli.get_command(click.Context(cli.cli), name)
    assert verb is not None and verb.help is not None
    monkeypatch.chdir(tmp_path)
    for file in ("FILE", "ids.npy", "M.setun"):
        Path(file).touch()
    examples = re.findall(rf"^(?:echo .* \| )?setun {name}\b.*$", cleandoc(verb.help), re.MULTILINE)
    assert examples
    for line in examples:
        verb.make_context(name, shlex.split(line.rpartition("| ")[2])[2:])


@pytest.mark.parametrize("columns", [40, 60])
def test_tables_are_as_narrow_as_the_terminal(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert cli.run(["boards"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    told = " ".join(" ".join(lines).split())
    assert "ulx3s-85f device LFE5U-85F, LUT4 83640, FF 83640, block RAM 208" in told
    assert "in memory 159.8 M, of 32,000 tokens 21.8 M, model shakespeare, programmer" in told
    assert (
        "weights on chip 0.4 M, in memory none, of 32,000 tokens none, model shakespeare-small"
        in told
    )
    monkeypatch.delenv("COLUMNS")
    assert cli.run(["boards"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 1 + len(boards.names() + recipes.names()) and rows[0].startswith("board ")


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("build --board u", {"ulx3s-25f", "ulx3s-45f", "ulx3s-85f"}),
        ("estimate --board ice", {"icebreaker", "icepi-zero"}),
        ("stream --model shakespeare-", {"shakespeare-small", "shakespeare-transformer"}),
        ("run shakesp", {"shakespeare", "shakespeare-small", "shakespeare-transformer"}),
        ("load shakespeare-", {"shakespeare-small", "shakespeare-transformer"}),
        ("bench --config onchip-2", {"onchip-256"}),
        ("build --numerics lm", {"lmul", "lmul-paper"}),
        ("generate --set colu", {"columns="}),
        ("estimate --bes", {"--best"}),
        ("load --port /dev/ttyC", {"/dev/ttyCHIP"}),
    ],
)
def test_a_shell_completes_names(
    line: str, offers: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = SimpleNamespace(device="/dev/ttyCHIP", vid=0x0403)
    monkeypatch.setattr(list_ports, "comports", lambda: [port])
    shell = BashComplete(cli.cli, {}, "setun", "_SETUN_COMPLETE")
    *words, last = line.split()
    found = shell.get_completions(words, last)
    assert {item.value for item in found if item.type == "plain"} == offers


def test_files_are_completed_where_a_model_may_be_one() -> None:
    shell = BashComplete(cli.cli, {}, "setun", "_SETUN_COMPLETE")
    for words in (["run"], ["load"], ["build", "--model"]):
        assert "file" in {item.type for item in shell.get_completions(words, "x")}


def test_names_that_a_shell_offers_are_all_there_are() -> None:
    assert completion.boards() == boards.names() and completion.models() == models.names()


def test_a_cache_that_cannot_be_written_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tools from pip end with a traceback where they have none."""
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    ensure_cache(["boards"])
    found = Path(os.environ["XDG_CACHE_HOME"])
    assert found.parent == tmp_path and found.stat().st_mode & 0o777 == 0o700
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    ensure_cache(["generate", "-o", "out"])
    assert f"cannot write {blocked}" in capsys.readouterr().err
    # Another's folder of that name is not taken.
    found.rmdir()
    found.symlink_to(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    ensure_cache(["boards"])
    assert Path(os.environ["XDG_CACHE_HOME"]) != found
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "good"))
    ensure_cache(["boards"])
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path / "good")


def test_ctrl_c_while_the_command_is_read_is_one_line() -> None:
    code = (
        "import sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'click': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "from setun.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "setun: error: interrupted\n")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this tree."""
    tree = tmp_path_factory.mktemp("wheel") / "tree"
    tree.mkdir()
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tree / folder)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tree)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tree.parent), str(tree)]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = tree.parent.glob("setun-*.whl")
    return found


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("line", [line for line in typed() if line.startswith("pip")])
def test_installed_as_the_docs_say(line: str, wheel: Path, tmp_path: Path) -> None:
    """The wheel is small, in a fresh environment in minutes, and runs from any folder."""
    assert wheel.stat().st_size <= WHEEL_MB * 1e6
    (venv,) = [line for line in typed() if "venv" in line]
    install = line.replace("'setun[", f"'{wheel}[")
    clean = {
        "PATH": f"{Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        **{k: v for k, v in os.environ.items() if k.startswith("PIP_")},
    }
    started = time.monotonic()
    subprocess.run(
        ["bash", "-c", f"set -e; {venv}; {install} --quiet"], cwd=tmp_path, env=clean, check=True
    )
    seconds = time.monotonic() - started
    print(f"{line}: {wheel.stat().st_size / 1e6:.2f} MB, {seconds:.0f} s")
    assert seconds < INSTALL_SECONDS
    # Nothing on PATH, no home, no cache, no terminal.
    bare = {"PATH": "/nonexistent", "HOME": "/nonexistent", "XDG_CACHE_HOME": "/dev/null/x"}
    for words in (["--version"], ["boards"], ["doctor"], ["run", "shakespeare", "--prompt", "A"]):
        done = subprocess.run(
            [tmp_path / "venv/bin/setun", *words], cwd="/", env=bare, capture_output=True, text=True
        )
        assert done.returncode == 0 and not done.stderr.count("Traceback"), (words, done.stderr)


def test_a_board_without_a_model_gets_its_own() -> None:
    """The usual demo model does not fit the smallest board; naming no model must not end there."""
    told = CliRunner().invoke(cli.cli, ["estimate", "--board", "icebreaker", "--json"])
    found = json.loads(told.stdout)
    assert found["fits"] and found["model"] == "shakespeare-small"
    said = CliRunner().invoke(cli.cli, ["build", "--reuse", "out", "-o", "other"])
    assert said.exit_code == 2 and "--model" in said.output + str(said.exception)
