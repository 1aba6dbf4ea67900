"""hil/run.py on a simulated chip behind a serial port: a record of what it spoke."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from front.boards.conftest import Socket

RUN = Path(__file__).parents[3] / "hil/run.py"
REPORT = {
    "board": "ulx3s-85f",
    "model": "named by the test",
    "clock_mhz": 56.25,
    "fmax_mhz": 57.5,
    "utilisation": {"luts": [29480, 83640]},
}


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    (folder / "out").mkdir(exist_ok=True)
    (folder / "out/report.json").write_text(json.dumps(REPORT))
    line = [sys.executable, RUN, "--bitstream", "out", "--flashed", *map(str, arguments)]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=300)


def test_a_chip_speaks_and_the_record_tells(
    socket: Socket, files: dict[str, str], tmp_path: Path
) -> None:
    chip = ("--board", "ulx3s-85f", "--port", socket.path, "--baud", socket.config.baud)
    done = run(tmp_path, *chip, "--model", files["a"], "--tokens", 12, "--by", "a test")
    assert done.returncode == 0, done.stderr
    assert "ulx3s-85f does not run yet: 12 tokens" in done.stdout
    record = json.loads((tmp_path / "record.json").read_text())
    assert (record["tokens"], record["golden_match"], record["by"]) == (12, True, "a test")
    assert (record["fmax_mhz"], record["luts"], record["watts"]) == (57.5, 29480, None)
    checked = [sys.executable, RUN.with_name("records.py"), "record.json"]
    shown = subprocess.run(checked, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "| ulx3s-85f |" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--board", "bulx3s"], "setun: error: board: must be one of"),
        (["--board", "ulx3s-25f"], "must be a build for ulx3s-25f; found ulx3s-85f"),
        (["--board", "ulx3s-85f", "--watts", "2"], "belong together"),
        (["--board", "ulx3s-85f", "--port", "/dev/none"], "/dev/none"),
        (["--board", "ulx3s-85f", "--bitstream", "none"], "none: must hold a report.json"),
        (["--board", "ulx3s-85f", "-o", "none/record.json"], "none/record.json"),
    ],
)
def test_nothing_is_written_where_something_is_wrong(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode and words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "record.json").exists()
