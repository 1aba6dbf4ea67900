"""Bitstreams of the boards with their usual chips (slow)."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from docs import pages
from setun import boards
from setun.cli import cli

BOARDS = [name for name in boards.names() if boards.get(name).has_fpga]


def invoke(*args: str) -> dict[str, object]:
    result = CliRunner().invoke(cli, [*args, "--json"])
    assert result.exit_code == 0, result.exception
    found: dict[str, object] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("name", BOARDS)
def test_usual_chip_fits_the_demo_model(name: str) -> None:
    told = invoke("estimate", "--board", name, "--model", boards.get(name).model)
    assert told["fits"] and told["chosen"] is None


@pytest.mark.slow
@pytest.mark.parametrize("name", BOARDS)
def test_bitstream(name: str, tmp_path: Path) -> None:
    """Timing met, every cell within the FPGA, the estimate near what was measured."""
    model = boards.get(name).model
    typed = ["build", "--board", name, "--model", model, "-o", str(tmp_path)]
    result = CliRunner().invoke(cli, typed)
    assert result.exit_code == 0, result.exception
    report = json.loads((tmp_path / "report.json").read_text())
    assert json.loads(result.stdout) == report
    assert pages.agrees(["…", '  "timing_met": true,', "…"], result.stdout)  # docs/quickstart.md
    assert (tmp_path / f"setun.{boards.get(name).fpga.flow().suffix}").stat().st_size > 0
    assert report["timing_met"] and report["fmax_mhz"] >= report["clock_mhz"]
    used, capacity = report["utilisation"], boards.get(name).capacity
    assert all(n <= available for n, available in used.values())
    assert {kind: used[kind][1] for kind in capacity} == dict(capacity)
    assert {"board", "cycles_per_token", "tokens_per_second", "tools", "seed"} <= report.keys()
    guess = report["estimate"]
    assert guess["cycles_per_token"] == pytest.approx(report["cycles_per_token"], rel=0.03)
    for kind, (needed, _) in guess["utilisation"].items():
        exact = kind in ("block_ram", "multipliers")
        assert needed == pytest.approx(used[kind][0], rel=0 if exact else 0.15)
