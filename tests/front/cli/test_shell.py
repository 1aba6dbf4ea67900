"""The command shell: exit status, one line per refusal, JSON alone on stdout."""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import click
import numpy as np
import pytest

from setun import boards, cli, models
from setun.cli import common
from setun.firmware.errors import SetunError


def setun(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "setun", *arguments], capture_output=True, text=True, cwd=cwd
    )


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch):
    """Add a verb `probe` that calls the given function."""

    def add(action) -> None:
        module = types.ModuleType("setun_probe")
        module.command = click.command()(common.json_option(lambda as_json: action(as_json)))
        monkeypatch.setitem(sys.modules, "setun_probe", module)
        monkeypatch.setitem(cli.VERBS, "probe", cli.Verb("setun_probe", "Probe."))

    return add


def raising(error: BaseException):
    def action(as_json: bool) -> None:
        raise error

    return action


def test_help_lists_every_verb_and_imports_none():
    code = (
        "import sys, setun.cli; status = setun.cli.run(['--help'])\n"
        "heavy = {'numpy', 'amaranth', 'rich', 'serial', 'tokenizers'} & set(sys.modules)\n"
        "sys.exit(status or ', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {name}" in done.stdout for name in cli.VERBS)


@pytest.mark.parametrize("name", list(cli.VERBS))
def test_each_verb_explains_itself_and_takes_json(name: str):
    command = cli.cli.get_command(click.Context(cli.cli), name)
    assert command is not None
    assert command.get_short_help_str(200) == cli.VERBS[name].help
    assert any("--json" in option.opts for option in command.params)


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("st", {"stream"}),
        ("flash --", {"--board", "--to", "--dry-run"}),
        ("flash --to f", {"flash"}),
    ],
)
def test_shell_completion(line: str, offers: set[str]):
    words = ["setun", *line.split()]
    environment = os.environ | {
        "_SETUN_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    code = "import setun.cli; setun.cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert offers <= {entry.partition(",")[2] for entry in done.stdout.splitlines()}


@pytest.mark.parametrize("verb", ["stream", "load", "flash"])
def test_board_verbs_have_examples_and_fit_a_narrow_terminal(verb: str):
    environment = os.environ | {"COLUMNS": "60"}
    done = subprocess.run(
        [sys.executable, "-m", "setun", verb, "--help"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert f"\n  setun {verb} " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 60


def test_no_verb_is_wrong_usage(capsys: pytest.CaptureFixture[str]):
    assert cli.run([]) == 2
    assert "doctor" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["nonsense"], ["boards", "--nonsense"], ["boards", "x"]])
def test_wrong_usage_is_one_line_and_status_2(arguments, capsys):
    assert cli.run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("setun: error: ") and err.count("\n") == 1 and "--help" in err


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_refusal_is_one_line_and_status_1(verb, capsys, flags):
    verb(raising(SetunError("model", "must\nexist", "none", "make one")))
    assert cli.run(["probe", *flags]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", "setun: error: model: must exist; found none (make one)\n")


def test_interrupt_is_130_without_traceback(verb, capsys):
    verb(raising(KeyboardInterrupt()))
    assert cli.run(["probe"]) == 130
    assert capsys.readouterr().err.strip() == "setun: error: interrupted"


def test_operating_system_error_names_the_file(verb, capsys):
    verb(lambda as_json: Path("/nonexistent/file").read_bytes())
    assert cli.run(["probe"]) == 1
    assert capsys.readouterr().err == (
        "setun: error: /nonexistent/file: No such file or directory\n"
    )


def test_a_bug_is_not_hidden(verb):
    verb(raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.run(["probe"])


def test_closed_stdout_is_quiet():
    child = subprocess.Popen(
        [sys.executable, "-m", "setun", "boards", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None and child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait(30) == 1


def test_emit_writes_plain_json(capsys):
    common.emit({"a": np.float32(0.5), "b": np.int64(3), "c": Path("x")}, True, "text")
    assert json.loads(capsys.readouterr().out) == {"a": 0.5, "b": 3, "c": "x"}
    common.emit({}, False, lambda: "text")
    assert capsys.readouterr().out == "text\n"
    with pytest.raises(SetunError, match="finite"):
        common.emit({"loss": float("nan")}, True, "")


def test_progress_is_silent_without_a_terminal(capsys):
    with common.stages() as stage, common.bar("work", 3) as step:
        stage("first")
        step(2)
    assert capsys.readouterr() == ("", "")


def test_table_aligns():
    text = common.table([{"a": 1, "b": "x"}, {"a": 333, "b": ""}], ["a", "b"])
    assert text.splitlines() == ["a    b", "1    x", "333"]


def test_boards_json_from_another_folder(tmp_path: Path):
    done = setun("boards", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    board = {entry["name"]: entry for entry in json.loads(done.stdout)}["ulx3s-85f"]
    assert board["capacity"]["block_ram"] == 208
    assert board["memory"][0]["bits"] == 32 * 8 * 2**20


def test_boards_are_complete():
    for name in boards.names():
        board = boards.get(name)
        if not board.has_fpga:
            assert (board.status, board.programmer, board.platform) == ("verilog", "", "")
            continue
        assert board.status in ("builds", "runs", "untried")
        assert board.programmer.split()[0] == "openFPGALoader" and "{" not in board.programmer
        assert board.load_platform().device == board.device
    with pytest.raises(SetunError, match="ulx3s-85f"):
        boards.get("ulx3s")


def test_memory_of_the_board_is_what_the_chip_is_made_for():
    board = boards.get("ulx3s-85f")
    assert board.usual({})["part"] == "" == board.part("onchip")
    for name in ("ulx3s-85f", "ulx3s-25f"):
        assert boards.get(name).usual({"memory": "sdram-16"})["part"] == "IS42S16160-7"
    assert boards.get("icepi-zero").usual({})["part"] == "W9825G6-6I"


def test_doctor_reports_tools(capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest's workers have it
    assert cli.run(["doctor", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["can"].items() >= {"simulate": True, "bitstream": True}.items()
    loader = {tool["name"]: tool for tool in result["tools"]}["openFPGALoader"]
    assert result["can"]["flash"] is loader["found"] is not bool(loader["install"])
    monkeypatch.setenv("YOSYS", "/nonexistent/yosys")
    assert cli.run(["doctor", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    yosys = {tool["name"]: tool for tool in result["tools"]}["yosys"]
    assert not yosys["found"] and "YOSYS" in yosys["install"]
    assert result["can"]["bitstream"] is False
    assert cli.run(["doctor"]) == 0
    assert "yosys           missing" in capsys.readouterr().out


def test_find_knows_shipped_names_folders_and_files(tmp_path: Path):
    shipped = models.find("shakespeare")
    assert (shipped / "model.safetensors").stat().st_size > 5_000_000
    assert models.find(str(shipped)) == shipped
    image = tmp_path / "m.setun"
    image.write_bytes(b"x")
    assert models.find(image) == image
    for bad in ["", "shakespear", tmp_path, tmp_path / "none"]:
        with pytest.raises(SetunError, match="must"):
            models.find(bad)
    with pytest.raises(SetunError, match="shipped: shakespeare"):
        models.find("shakespear")
