"""The estimate against what builds, netlists and simulated chips have measured."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from docs.pages import maker
from setun import boards
from setun.bench.measure import measure
from setun.cli import cli
from setun.estimate.best import FILLED, best, settings
from setun.estimate.cells import KINDS, data, unit_cells
from setun.estimate.chip import estimate
from setun.estimate.cycles import cycles_per_token
from setun.estimate.designs import DESIGNS, ONLY, OPTIONS, design_config
from setun.estimate.supply import Supply
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.memory_layout import lay_out, sized_for
from setun.models.load import load_model

BUILDS = data("builds.json")


@pytest.mark.parametrize("number", range(len(BUILDS)))
def test_builds(number: int) -> None:
    """LUTs within 15 %, registers too; block RAM and multipliers exactly; cycles within 3 %."""
    build = BUILDS[number]
    config, board = ChipConfig.from_dict(build["config"]), boards.get(build["board"])
    found = estimate(load_model(build["model"]), config, board)
    measured = {kind: used for kind, (used, _) in build["utilisation"].items()}
    needed = found.needed
    assert needed.keys() == measured.keys()
    assert needed["luts"] == pytest.approx(measured["luts"], rel=0.15)
    assert needed["registers"] == pytest.approx(measured["registers"], rel=0.15)
    assert needed["block_ram"] == measured["block_ram"]
    assert needed["multipliers"] == measured["multipliers"]
    assert found.cycles[build["streams"]] == pytest.approx(build["cycles_per_token"], rel=0.03)
    assert found.fits


# `python -m setun.bench.prices`, docs/numerics.md: 16 x 8 MACs, 4 lanes, one context, ULX3S-85F.
@pytest.mark.parametrize(
    ("numerics", "luts", "multipliers", "cycles"),
    [
        ({}, 20_539, 49, 11_132),
        ({"activation": "fp8", "accumulate": 64}, 28_201, 45, 11_180),
        ({"multiplier": "lmul"}, 23_921, 0, 11_205),
        ({"state_rounding": "stochastic", "state_mantissa": 7}, 22_818, 49, 11_132),
    ],
)
def test_prices_of_the_numerics(
    numerics: dict[str, Any], luts: int, multipliers: int, cycles: int
) -> None:
    """Chips that nothing was fitted to."""
    config, image = design_config(numerics), load_model("shakespeare")
    needed = estimate(image, config, boards.get("ulx3s-85f")).needed
    assert needed["luts"] == pytest.approx(luts, rel=0.15)
    assert needed["multipliers"] == multipliers
    assert cycles_per_token(image, config, 1) == pytest.approx(cycles, rel=0.03)


def test_a_transformer_with_lmul_has_no_multiplier() -> None:
    """Of more queries than were measured, and more LUTs the more offsets there are."""
    options = {"attention": 32, "queries": 4, "head_norms": 1, "multiplier": "lmul"}
    found = [unit_cells(design_config(options | {"segments": k})) for k in (0, 2, 3, 4)]
    assert not any(cells["multipliers"] for units in found for cells in units.values())
    sinks = [units["sink"]["luts"] for units in found]
    assert sinks == sorted(set(sinks))


def test_units() -> None:
    """Every unit that was synthesised, within 7 %; and all that the command would measure."""
    for row in data("units.json"):
        found = unit_cells(design_config(row["options"]))[row["unit"]]
        for kind in KINDS:
            assert found[kind] == pytest.approx(row[kind], rel=0.07, abs=60), (row, kind)
    for name in DESIGNS:
        mine = {row["unit"] for row in data("units.json") if row["design"] == name}
        assert mine and mine <= {ONLY.get(name, unit) for unit in OPTIONS}, name


def test_cycles_measured_now() -> None:
    """A pass on the compiled chip takes what the schedule says, within 3 %."""
    image = load_model("random-128x1")
    config = sized_for(image, ChipConfig(columns=16, rows=8, lanes=8, contexts=2))
    for found in measure("small", "random-128x1", image, config, 4):
        expected = cycles_per_token(image, config, found.streams)
        assert expected == pytest.approx(found.cycles_per_token, rel=0.03)


def test_supply_waits_for_memory() -> None:
    supply = Supply(rate=0.5, depth=4, latency=10)
    assert supply.take(0, 2, 1) == 14  # two words at half a word a cycle behind the latency
    assert supply.take(100, 4, 1) == 104  # four have piled up
    assert supply.take(104, 4, 1) == 108  # two came meanwhile, and two more take four cycles
    assert Supply().take(7, 3, 2) == 13


def test_best_fits_and_beats_the_boards_chip() -> None:
    image, board = load_model("shakespeare"), boards.get("ulx3s-85f")
    clock = {"clock_hz": round(board.chip_clock_mhz * 1e6), "baud": board.baud}
    base = ChipConfig.from_dict({**ChipConfig().to_dict(), **board.chip, **clock})
    found = best(image, base, board, set())
    assert found.fits
    assert found.utilisation["luts"][0] <= FILLED * board.capacity["luts"]
    plain = estimate(image, sized_for(image, base), board)
    assert found.cycles_per_token <= plain.cycles_per_token
    assert settings(plain.config, board) == []
    again = best(image, base, board, {"contexts"})
    assert again.config.contexts == base.contexts


def run(*args: str) -> dict[str, Any]:
    result = CliRunner().invoke(cli, [*args, "--json"])
    assert result.exit_code == 0, result.exception
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_estimate_chooses_what_build_takes(tmp_path: Path) -> None:
    small = ("--board", "ulx3s-25f", "--model", "random-64x2")
    told = run("estimate", *small, "--best")
    assert told["fits"] and told["chosen"]
    plan = run("build", *small, "-o", str(tmp_path), "--dry-run", *told["chosen"])
    assert plan["config"] == told["config"]
    assert plan["estimate"]["utilisation"] == told["utilisation"]


def test_estimate_tells_of_a_faster_chip(tmp_path: Path) -> None:
    """A small model leaves room on a large board; what is told is what `--best` chooses."""
    small = ("estimate", "--board", "ulx3s-45f", "--model", "random-64x2")
    told, best_ = run(*small), run(*small, "--best")
    assert told["chosen"] is None and best_["faster"] is None
    assert told["faster"]["chosen"] == best_["chosen"]
    assert told["faster"]["tokens_per_second"] == best_["tokens_per_second"]
    assert best_["tokens_per_second"] > 1.03 * told["tokens_per_second"]
    assert run(*small, "--set", "lanes=4")["faster"] is None
    text = CliRunner().invoke(cli, list(small)).stdout
    assert f"tokens/s with {' '.join(best_['chosen'])}" in text


@pytest.mark.parametrize("name", [n for n in boards.names() if boards.get(n).has_fpga])
def test_each_boards_chip_is_among_the_fastest_for_its_model(name: str) -> None:
    """Within 3 %, of which `--best` takes the smallest."""
    told, best_ = run("estimate", "--board", name), run("estimate", "--board", name, "--best")
    assert told["fits"] and told["faster"] is None and best_["fits"]
    assert best_["tokens_per_second"] > told["tokens_per_second"] / 1.03


def test_estimate_says_what_is_short() -> None:
    told = run("estimate", "--board", "ulx3s-25f", "--set", "lanes=4")
    assert not told["fits"] and told["chosen"] is None
    assert told["short"] == {"block_ram": [59, 56], "multipliers": [49, 28]}
    moved = run("estimate", "--board", "ulx3s-85f", "--model", "random-13m")
    assert moved["fits"] and "memory=sdram-16" in moved["chosen"]


def test_nothing_fits() -> None:
    result = CliRunner().invoke(
        cli, ["estimate", "--board", "ulx3s-25f", "--model", "random-1999x1", "--json"]
    )
    told = str(result.exception)
    assert isinstance(result.exception, SetunError) and "must fit some chip" in told
    assert re.search(r"the smallest tried: .*block RAM \d+ of 56", told), told
    assert result.stdout == ""


def test_load_time_counts_the_placed_words() -> None:
    image, board = load_model("shakespeare"), boards.get("ulx3s-85f")
    config = sized_for(image, ChipConfig(baud=1_000_000))
    words = sum(len(words) for words in lay_out(image, config).spaces.values())
    seconds = estimate(image, config, board).load_seconds
    assert 40 * words / 1e6 < seconds < 1.2 * 40 * words / 1e6


def test_generic_board_ends_at_verilog(tmp_path: Path) -> None:
    out = tmp_path / "out"
    small = ("--set", "columns=8", "--set", "rows=4", "--set", "lanes=4", "--set", "contexts=1")
    report = run(
        "build", "--board", "generic-axi4", "--model", "random-64x1", "-o", str(out), *small
    )
    assert report["flow"] == "verilog" and report["utilisation"] is None
    assert report["cycles_per_token"] == pytest.approx(
        report["estimate"]["cycles_per_token"], rel=0.03
    )
    assert "module setun" in (out / "setun.v").read_text()
    assert (out / "weights.bin").stat().st_size > 0
    assert json.loads((out / "report.json").read_text())["config"] == report["config"]
    described = json.loads((out / "ports.json").read_text())
    assert described.pop("memory")["bytes"] == (out / "weights.bin").stat().st_size
    assert report["ports"] == described


def test_baud_that_the_clock_misses() -> None:
    with pytest.raises(SetunError, match=r"baud: must be within 2%.*2200000 baud at 12 MHz"):
        ChipConfig(clock_hz=12_000_000, baud=2_200_000)
    assert ChipConfig(clock_hz=50_000_000, baud=3_000_000).divisor == 17


@pytest.mark.parametrize("seats", [1, 2])
def test_diagram_shows_every_weight_word_once(seats: int) -> None:
    spans = maker("layer_diagram").layer_spans(seats)
    array = [span for span in spans if span.unit == "array"]
    # A layer of 128 with 384 intermediate elements on 32 x 8 MACs.
    assert sum(span.end - span.start for span in array) == seats * (4 * 64 + 3 * 192)
    for unit in ("codes", "scale", "array"):
        mine = [span for span in spans if span.unit == unit]
        assert all(before.end <= after.start for before, after in pairwise(mine)), unit
    codes = {(span.work, span.seat): span.start for span in spans if span.unit == "codes"}
    for span in array:
        work = span.work.removesuffix(".gate").removesuffix(".up")
        assert span.start >= codes[work, span.seat]
