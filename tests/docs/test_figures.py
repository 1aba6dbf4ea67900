"""Pictures and tables of README and docs are what their commands make."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bench.folders import ROOT
from docs import pages
from setun import boards
from setun.boards import get
from setun.cli import demo
from setun.estimate import boards as measured
from setun.estimate import measure

SVG = "{http://www.w3.org/2000/svg}"
picture = pages.maker("stream_picture")
README = (ROOT / "README.md").read_text("utf-8")


def terminal(svg: str) -> list[str]:
    """Lines of text of a picture of a terminal, from top to bottom."""
    lines: dict[float, str] = {}
    for part in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        if "clip-path" in part.attrib:
            y = float(part.attrib["y"])
            lines[y] = lines.get(y, "") + (part.text or "").replace("\n", "")
    return [lines[y].replace("\N{NO-BREAK SPACE}", " ").rstrip() for y in sorted(lines)]


def wrapped(text: str) -> str:
    return " ".join(text.split())


def test_the_picture_of_the_stream_is_the_golden_models() -> None:
    shown = terminal((ROOT / "docs/stream.svg").read_text("utf-8"))
    assert shown[0] == f"$ {picture.COMMAND}"
    assert wrapped("\n".join(shown[1:])) == wrapped(picture.text())
    assert len(shown) > 10 and max(map(len, shown)) <= picture.WIDTH
    assert "docs/stream.svg" in README


def test_the_picture_is_drawn_alike_and_asks_no_server() -> None:
    one, other = picture.picture("ROMEO:\nthis"), picture.picture("ROMEO:\nthat")
    assert terminal(one) == [f"$ {picture.COMMAND}", "ROMEO:", "this"]
    assert one == picture.picture("ROMEO:\nthis") != other
    assert "url(http" not in one and "<script" not in one


def test_the_picture_is_of_what_the_demo_begins_with() -> None:
    usual = {option.name: option.default for option in demo.command.params}
    assert (demo.PROMPT, usual["count"]) == (picture.PROMPT, picture.TOKENS)
    assert (usual["temperature"], usual["seed"]) == (picture.TEMPERATURE, picture.SEED)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_chip_writes_what_the_picture_shows() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "setun", "demo", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert picture.PROMPT + json.loads(done.stdout)["text"] == picture.text()


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_the_table_of_boards_is_what_was_measured(page: str) -> None:
    """If it fails: python -m setun.estimate.boards --write README.md, and the page anew."""
    text = (ROOT / page).read_text("utf-8")
    assert measured.replaced(text) == text and measured.measured() in text


def test_boards_are_called_built_where_a_build_is_recorded() -> None:
    built = {each["board"] for each in measured.data(measured.FILE)}
    for name in boards.names():
        board = get(name)
        if board.has_fpga:
            assert (name in built) is (board.status in ("builds", "runs")), name


def test_a_report_goes_into_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a board's usual chip, by `python -m setun.estimate.measure --report FILE`."""
    from setun.boards.building import usual_chip

    for name in ("builds.json", measured.FILE):
        (tmp_path / name).write_text((measure.FOLDER / name).read_text())
    board = get("ulx3s-45f")
    report = {
        "board": board.name,
        "model": board.model,
        "clock_mhz": board.chip_clock_mhz,
        "fmax_mhz": 61.5,
        "timing_met": True,
        "streams": 4,
        "cycles_per_token": 50_000.0,
        "config": usual_chip(board).to_dict(),
        "utilisation": {
            "luts": [20_000, 43_848],
            "registers": [15_000, 43_848],
            "block_ram": [80, 108],
            "multipliers": [49, 72],
        },
    }
    file = tmp_path / "report.json"
    monkeypatch.setattr(measure, "FOLDER", tmp_path)
    monkeypatch.setattr("sys.argv", ["measure", "--report", str(file)])

    def rows() -> list[dict[str, object]]:
        file.write_text(json.dumps(report))
        measure.main()
        found: list[dict[str, object]] = json.loads((tmp_path / measured.FILE).read_text())
        return [row for row in found if row["board"] == board.name]

    (row,) = rows()
    line = measured._row(board, row)
    assert line[1] == f"`{board.model}` in the SDRAM, 64 MACs, four streams"
    assert line[2:] == ["20,000 of 43,848 LUT4", "80 of 108", "50 MHz, 61.5", "50,000", "1,000"]
    report["fmax_mhz"] = 70.0
    (row,) = rows()
    assert row["fmax_mhz"] == 70.0
    report["model"] = "random-13m"
    assert rows() == [row]
