"""The verb: estimates alone, what is kept, what the report says, refusals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from setun import boards
from setun.cli import cli
from setun.estimate.chip import estimate
from setun.explore import run
from setun.explore.rows import luts
from setun.firmware.config import ChipConfig
from setun.models.load import load_model

BOARD = "ulx3s-25f"
SPACE = (
    "--board",
    BOARD,
    "--model",
    "random-64x1",
    "--estimate-only",
    "--jobs",
    "1",
    "--set",
    "memory=onchip",
    "--vary",
    "columns=8,16",
    "--vary",
    "rows=1,4",
    "--vary",
    "lanes=1,2",
    "--vary",
    "contexts=1",
    "--vary",
    "pump=1",
)


def invoke(*args: object) -> tuple[int, str, str, BaseException | None]:
    result = CliRunner().invoke(cli, ["explore", *map(str, args)])
    return result.exit_code, result.stdout, result.stderr, result.exception


def told(*args: object) -> dict[str, Any]:
    code, out, error, exception = invoke(*args, "--json")
    assert code == 0, (error, exception)
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder in which a small space has been estimated, and what that printed."""
    out = tmp_path_factory.mktemp("explored") / "out"
    return out, told(*SPACE, "-o", out)


def test_all_are_estimated_and_what_is_refused_is_counted(
    explored: tuple[Path, dict[str, Any]],
) -> None:
    _, found = explored
    assert found["counts"] == {"estimated": 12, "refused": 4}
    assert found["refused"] == {"rows must be a multiple of the 2 lanes": 4}
    assert len(found["points"]) == 2 * 2 * 2 * 2
    image, board = load_model("random-64x1"), boards.get(BOARD)
    for point in found["points"]:
        if point["status"] == "refused":
            assert point["options"]["rows"] == 1 and point["options"]["lanes"] == 2
            continue
        config = ChipConfig.from_dict(point["config"])
        plain = estimate(image, config, board).to_dict()
        assert point["estimated"] == json.loads(json.dumps(plain))
        assert point["luts"] == luts(plain)
        assert point["tokens_per_second"] == pytest.approx(plain["tokens_per_second"])
        assert {name: point["config"][name] for name in point["options"]} == point["options"]
        assert point["loss"] is None and point["measured"] is None
    front = [(p["tokens_per_second"], p["luts"]) for p in found["points"] if p["front"]]
    every = [(p["tokens_per_second"], p["luts"]) for p in found["points"] if "luts" in p]
    assert max(every)[0] in [speed for speed, _ in front]
    assert min(n for _, n in every) in [n for _, n in front]


def test_the_command_told_builds_that_chip(
    explored: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    point = next(p for p in explored[1]["points"] if p["front"])
    words = point["build"].split()
    assert words[:2] == ["setun", "build"] and words[-2:] == ["-o", "out"]
    args = [*words[1:-1], str(tmp_path / "out"), "--dry-run", "--json"]
    result = CliRunner().invoke(cli, args)
    assert result.exit_code == 0, result.exception
    assert json.loads(result.stdout)["config"] == point["config"]


def test_again_nothing_is_computed_and_all_is_the_same(
    explored: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, found = explored
    before = {p: p.stat().st_mtime_ns for p in (out / "points").iterdir()}
    report, plot = (out / "report.html").read_bytes(), (out / "luts.svg").read_bytes()
    (out / "loss.svg").write_text("of a run with a text")

    def started(*_: object) -> None:
        pytest.fail("workers were started")

    monkeypatch.setattr(run, "_distributed", started)
    assert told(*SPACE, "-o", out) == found
    assert {p: p.stat().st_mtime_ns for p in (out / "points").iterdir()} == before
    assert (out / "report.html").read_bytes() == report
    assert (out / "luts.svg").read_bytes() == plot and plot in report
    assert not (out / "loss.svg").exists()
    assert json.loads((out / "results.json").read_text()) == found


def test_the_report_has_every_point_and_needs_nothing(
    explored: tuple[Path, dict[str, Any]],
) -> None:
    out, found = explored
    page = (out / "report.html").read_text("utf-8")
    lines = re.findall(r'<tr class="([a-z ]+)">', page[page.index("<h2>Every point</h2>") :])
    assert [line.split()[0] for line in lines] == [p["status"] for p in found["points"]]
    assert ["front" in line.split() for line in lines] == [p["front"] for p in found["points"]]
    assert "4</td><td>rows must be a multiple of the 2 lanes" in page
    for point in found["points"]:
        if point["status"] == "estimated":
            assert f"{point['tokens_per_second']:,.0f}</td>" in page
            assert f"~{point['luts']:,}</td>" in page
        if point["front"]:
            assert point["build"] in page
    (svg,) = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    ElementTree.fromstring(svg)
    assert "<script" not in page and "url(http" not in page and "src=" not in page


def test_a_table_for_people(
    explored: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = explored
    monkeypatch.setenv("COLUMNS", "120")
    code, text, _, _ = invoke(*SPACE, "-o", out)
    assert code == 0
    assert text.startswith("random-64x1 on ulx3s-25f: 16 points, 12 estimated, 4 refused\n")
    assert "status     chip" in text and f"{out / 'report.html'}: every point" in text


def test_damaged_results_are_made_again(
    explored: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, found = explored
    (tmp_path / "points").mkdir()
    files = sorted((out / "points").iterdir())
    for path in files[:-1]:
        (tmp_path / "points" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "points" / files[0].name).write_text('{"kind": "estimate", "result"')
    code, text, error, _ = invoke(*SPACE, "-o", tmp_path, "--json")
    again = json.loads(text)
    assert code == 0 and "1 damaged result" in error
    for each in (again, found):
        each.pop("report", None)
    assert again == found
    for path in files:
        inside = json.loads((tmp_path / "points" / path.name).read_text())
        assert inside["result"] == json.loads(path.read_text())["result"]


def results_of(out: Path) -> set[Path]:
    return set((out / "points").glob("*.json"))


def stopped(
    words: list[str], out: Path, number: signal.Signals, reached: Callable[[], object]
) -> tuple[int, str, str]:
    """Run the verb and stop it as soon as `reached` says so."""
    process = subprocess.Popen(
        [sys.executable, "-m", "setun", "explore", *words, "-o", str(out), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 120
    while not reached():
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            pytest.fail(f"ended too early: {process.communicate()}")
        time.sleep(0.01)
    # As a terminal does it: the whole group gets an interrupt.
    (os.killpg if number is signal.SIGINT else os.kill)(process.pid, number)
    text, error = process.communicate(timeout=60)  # ends when the workers have gone, too
    return process.returncode, text, error


def test_a_run_that_is_stopped_goes_on(tmp_path: Path) -> None:
    """Killed, then interrupted; the next run computes the rest, and nothing again."""
    text, out = tmp_path / "text", tmp_path / "out"
    text.write_text("ROMEO: what say you?\n" * 5000)  # its losses take seconds
    words = ["--board", BOARD, "--estimate-only", "--jobs", "1", "--text", str(text)]
    for each in ("columns=16", "rows=4", "lanes=1", "contexts=1,2"):
        words += ["--vary", each]
    assert stopped(words, out, signal.SIGKILL, lambda: results_of(out))[0] == -signal.SIGKILL
    before = results_of(out)
    code, shown, error = stopped(words, out, signal.SIGINT, lambda: results_of(out) != before)
    assert (code, shown) == (130, "") and error.count("\n") == 1, error
    assert f"interrupted; what is finished is in {out}" in error
    partial = json.loads((out / "results.json").read_text())
    losses = [partial["float_loss"], *(point.get("loss") for point in partial["points"])]
    assert None in losses and (out / "report.html").is_file()
    files = {p: p.stat().st_mtime_ns for p in results_of(out)}
    found = told(*words, "-o", out)
    assert found["float_loss"] > 0 and "open" not in found["counts"]
    assert len(results_of(out)) == found["counts"]["estimated"] + 2
    assert {p: p.stat().st_mtime_ns for p in files} == files


IMPATIENT = """
import os, signal, sys, threading, distributed
def interrupt(seconds):  # all of the group, as a terminal does it
    threading.Timer(seconds, os.kill, (0, signal.SIGINT)).start()
class Cluster(distributed.LocalCluster):
    def __init__(self, **options):
        interrupt(float(sys.argv[1]))
        super().__init__(**options)
    closed = False
    def close(self, *args, **options):
        Cluster.closed = True
        interrupt(0.1)
        return super().close(*args, **options)
distributed.LocalCluster = Cluster
from setun import cli
from setun.cli import explore
write = explore._write
def impatient(*args):
    if Cluster.closed:
        interrupt(0)
    return write(*args)
explore._write = impatient
sys.exit(cli.run(sys.argv[2:]))
"""


@pytest.mark.parametrize("seconds", [0, 0.5, 1.0])
def test_an_interrupt_waits_for_workers_that_start_or_end(tmp_path: Path, seconds: float) -> None:
    """It is one line, however often it comes, then too when what is finished is written; no worker
    dies of it half-way."""
    words = ["--board", BOARD, "--estimate-only", "--jobs", "2", "-o", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", IMPATIENT, str(seconds), "explore", *words, "--json"],
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (130, "")
    want = f"interrupted; what is finished is in {tmp_path / 'out'}: the same command goes on"
    assert done.stderr == f"setun: error: {want}\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--board", "nothing"], "board: must be one of"),
        (["--board", "generic-axi4"], "must have an FPGA to place"),
        (["--board", BOARD, "--model", "nothing"], "model nothing"),
        (["--board", BOARD, "--clock", "fast"], "clock: must be MHz"),
        (["--board", BOARD, "--vary", "color=1"], "option color: is not one"),
        (["--board", BOARD, "--vary", "rows=1", "--set", "rows=2"], "must be set or varied"),
        (["--board", BOARD, "--numerics", "nothing"], "numerics nothing: must be a preset"),
        (["--board", BOARD, "--set", "rows"], "must be KEY=VALUE"),
    ],
)
def test_refusals_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _, error = invoke(*args, "--json")
    assert code == 1 and out == "" and words in str(error)
    assert not list(tmp_path.iterdir())


def test_no_scheduler_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "ANSWER_S", 0.5)
    address = "tcp://127.0.0.1:9"
    code, out, _, error = invoke(*SPACE, "-o", tmp_path, "--scheduler", address)
    assert code == 1 and out == ""
    assert f"scheduler {address}: must answer within 0.5 s" in str(error)
    assert "\n" not in str(error)


def test_workers_that_do_not_start_are_one_line(tmp_path: Path) -> None:
    """Here because of what dask was told to load into them."""
    done = subprocess.run(
        [sys.executable, "-m", "setun", "explore", *SPACE, "-o", str(tmp_path), "--json"],
        env={**os.environ, "DASK_DISTRIBUTED__WORKER__PRELOAD": '["no_such_module"]'},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("setun: error: workers: must start; found ModuleNotFoundError")
    assert done.stderr.count("\n") == 1 and "no_such_module" in done.stderr


def test_without_distributed_it_says_what_to_install(tmp_path: Path) -> None:
    """And no other verb, nor what is there already, wants it."""
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "from setun import cli; sys.exit(cli.run(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "explore", *SPACE, "-o", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "pip install 'setun[explore]'" in done.stderr


def test_no_other_verb_imports_distributed() -> None:
    code = (
        "import importlib, sys, setun.cli\n"
        "for verb in setun.cli.VERBS.values(): importlib.import_module(verb.module)\n"
        "sys.exit('distributed' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
