"""The chip on a board: dry run, refusals, and the whole way to a bitstream (slow)."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from setun import boards
from setun.cli import cli


def invoke(*args: str) -> tuple[int, str, BaseException | None]:
    result = CliRunner().invoke(cli, list(args))
    return result.exit_code, result.stdout, result.exception


def test_dry_run_writes_the_design(tmp_path: Path) -> None:
    code, out, _ = invoke(
        "build", "--board", "ulx3s-85f", "-o", str(tmp_path / "out"), "--dry-run", "--json"
    )
    assert code == 0
    plan = json.loads(out)
    assert sum(plan["block_ram"][0].values()) <= plan["block_ram"][1] == 208
    assert "LOCATE" in (tmp_path / "out" / "setun.lpf").read_text()
    assert "module \\setun" in (tmp_path / "out" / "setun.il").read_text()


def settings(text: str) -> dict[str, str]:
    """Parameters and connections of the PLL in RTLIL."""
    pll = text[text.index("cell \\EHXPLLL") :]
    pll = pll[: pll.index("\n  end")]
    return dict(re.findall(r"(?:parameter|connect) \\(\w+) (.*)", pll))


def test_pumped_chip_gets_both_clocks(tmp_path: Path) -> None:
    """The PLL's loop is closed over the fast clock; the chip's own divides the same oscillator."""
    code, _, error = invoke(
        "build",
        "--board",
        "ulx3s-85f",
        "-o",
        str(tmp_path),
        "--dry-run",
        "--clock",
        "57.5",
        "--set",
        "pump=2",
        "--set",
        "rows=8",
        "--set",
        "lanes=4",
    )
    assert code == 0, error
    text = (tmp_path / "setun.il").read_text()
    given = settings(text)
    assert re.search(r'attribute \\FREQUENCY_PIN_CLKOP "115"', text)
    assert re.search(r'attribute \\FREQUENCY_PIN_CLKOS2 "57.5"', text)
    assert given["CLKFB"].split()[0] == given["CLKOP"].split()[0] != given["CLKOS2"].split()[0]
    assert int(given["CLKOS2_DIV"]) == 2 * int(given["CLKOP_DIV"])
    assert int(given["CLKOS2_CPHASE"]) == int(given["CLKOS2_DIV"]) - 1
    assert int(given["CLKOP_CPHASE"]) == int(given["CLKOP_DIV"]) - 1


@pytest.mark.parametrize(("memory", "gear"), [("sdram-16", 1), ("sdram-16x2", 2)])
def test_dry_run_connects_the_boards_sdram(tmp_path: Path, memory: str, gear: int) -> None:
    """Weights in the board's SDRAM: its pins are located, and the chip comes blank."""
    out = tmp_path / "out"
    code, text, error = invoke(
        "build",
        "--board",
        "ulx3s-85f",
        "--model",
        "random-128x1",
        "-o",
        str(out),
        "--dry-run",
        "--json",
        "--set",
        f"memory={memory}",
        "--set",
        "columns=16",
        "--set",
        "rows=4",
        "--set",
        "pump=1",
    )
    assert code == 0, error
    assert json.loads(text)["block_ram"][0]
    # The part's clock is `gear` times the chip's, late by an eighth of a period or by half of one.
    given = settings((out / "setun.il").read_text())
    chips = "CLKOS2_DIV" if gear > 1 else "CLKOP_DIV"
    period = int(given["CLKOS_DIV"])
    assert int(given[chips]) == gear * period
    late = 8 * (int(given["CLKOS_CPHASE"]) - period + 1) + int(given["CLKOS_FPHASE"])
    assert late == {1: period, 2: 4 * period}[gear]
    constraints = (out / "setun.lpf").read_text()
    assert constraints.count("LOCATE") > 39  # an SDRAM of 16 bits has 39 pins
    assert "sdram" in constraints


@pytest.mark.parametrize(
    ("board", "select", "data"),
    [
        ("ulx3s-25f", "R2", ["W2", "V2", "Y2", "W1"]),
        pytest.param("icepi-zero", "N8", ["T8", "T7", "M7", "N7"], marks=pytest.mark.slow),
    ],
)
def test_dry_run_connects_the_boards_flash(
    tmp_path: Path, board: str, select: str, data: list[str]
) -> None:
    """The model in the flash that configures the FPGA, and nothing of it in the bitstream.

    SCK leaves by USRMCLK: the pad has no name.
    """
    texts = {}
    for memory in ("qspi", "sdram-16"):
        out = tmp_path / memory
        code, _, error = invoke(
            "build",
            "--board",
            board,
            "--model",
            "random-128x1",
            "-o",
            str(out),
            "--dry-run",
            "--set",
            f"memory={memory}",
            "--set",
            "contexts=1",
        )
        assert code == 0, error
        texts[memory] = (out / "setun.il").read_text()
    constraints = (tmp_path / "qspi" / "setun.lpf").read_text()
    located = dict(re.findall(r'LOCATE COMP "qspi_0__(\S+)__io\S*" SITE "(\w+)"', constraints))
    assert located.keys() == {"cs", "dq"}
    sites = re.findall(r'LOCATE COMP "qspi_0__dq__io\[\d\]" SITE "(\w+)"', constraints)
    assert sites == data and located["cs"] == select
    assert "cell \\USRMCLK" in texts["qspi"] and "USRMCLK" not in texts["sdram-16"]
    target = boards.get(board)
    assert ("EHXPLLL" in texts["qspi"]) is (target.clock_mhz != target.chip_clock_mhz)
    assert "sdram" not in constraints
    for text in texts.values():
        memories = set(re.findall(r'MEMID "\\\\(\w+?)\d*"', text))
        assert "state" in memories
        assert not {"program", "weights", "constants", "gates"} & memories


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--board", "nothing"], "board: must be one of"),
        (["--board", "ulx3s-85f", "--model", "nothing"], "model nothing"),
        (["--board", "ulx3s-85f", "--set", "rows=3"], "rows: must be a power of two"),
        (["--board", "ulx3s-85f", "--set", "color=1"], "option color"),
        (["--board", "ulx3s-85f", "--set", "pump=3"], "pump: must be 1 or 2"),
        (
            ["--board", "ulx3s-85f", "--set", "rows=1", "--set", "lanes=1", "--set", "pump=2"],
            "multiple of the pump",
        ),
        (["--board", "icepi-zero", "--set", "memory=axi4-64"], "must be onchip"),
        (["--board", "ulx3s-85f", "--set", "memory=tape"], "memory: must be one of onchip"),
        (["--board", "ulx3s-85f", "--clock", "900"], "MHz"),
        (["--board", "ulx3s-85f", "--set", "baud=40000000"], "baud"),
        (["--board", "ulx3s-85f", "--set", "weight_words=20000"], "of 208 blocks of RAM"),
        (["--board", "ulx3s-85f", "--set", "weight_words=9"], "weight_words 2516 of 9"),
    ],
)
def test_refusals_leave_nothing(tmp_path: Path, args: list[str], words: str) -> None:
    out = tmp_path / "out"
    code, stdout, error = invoke("build", *args, "-o", str(out), "--dry-run", "--json")
    assert code != 0 and stdout == ""
    assert words in str(error)
    assert not out.exists() or not list(out.iterdir())


def test_impossible_clock_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*_: object) -> None:
        pytest.fail("the chip was measured")

    monkeypatch.setattr("setun.bench.measure.measure", measured)
    args = ["build", "--board", "ulx3s-85f", "--clock", "52", "-o", str(tmp_path / "out")]
    code, out, error = invoke(*args)
    assert code != 0 and not out
    assert "found 52 MHz times 2 (nearest is 52.0833 MHz)" in str(error)


@pytest.mark.slow
@pytest.mark.timeout(4200)
def test_demo_model_meets_timing_on_ulx3s(tmp_path: Path) -> None:
    """The bitstream that the README promises: timing met, the demo model in its memories."""
    code, out, error = invoke("build", "--board", "ulx3s-85f", "-o", str(tmp_path), "--json")
    assert code == 0, error
    report = json.loads(out)
    assert report["timing_met"] and report["fmax_mhz"] >= report["clock_mhz"] >= 56.25
    assert report["cycles_per_token"] > 2516
    assert report["tokens_per_second"] == pytest.approx(56.25e6 / report["cycles_per_token"])
    assert report["tokens_per_second"] >= 20_000
    assert (tmp_path / "setun.bit").stat().st_size > 100_000
    assert json.loads((tmp_path / "report.json").read_text()) == report
    print(out)
