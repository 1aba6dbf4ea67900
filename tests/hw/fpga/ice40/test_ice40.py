"""Bitstreams of an iCE40UP5K: its PLL and its design; test_boards.py builds it."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.fpga.test_chip import invoke
from setun import boards
from setun.firmware.errors import SetunError
from setun.hw.fpga.ice40 import pll as ice40

BUILD = ("build", "--board", "icebreaker", "--model", "shakespeare-small", "-o")


@given(st.floats(10.0, 100.0), st.floats(8.0, 300.0))
def test_pll_settings_keep_the_datasheets_ranges(source: float, asked: float) -> None:
    try:
        found = ice40.ice40_pll(source, asked)
    except SetunError as error:
        assert error.fix.startswith("nearest is") or not ice40.OUTPUT_MHZ[0] <= asked
        return
    if found is None:
        assert source == asked
        return
    detector = source / (found.divr + 1)
    oscillator = detector * (found.divf + 1)
    assert 0 <= found.divr < 16 and 0 <= found.divf < 128 and 1 <= found.divq <= 6
    assert 10.0 <= detector <= 133.0 and 533.0 <= oscillator <= 1066.0
    assert abs(oscillator / 2**found.divq - asked) <= 1e-3 * asked


def test_pll_of_the_board() -> None:
    board = boards.get("icebreaker")
    found = ice40.ice40_pll(board.clock_mhz, board.chip_clock_mhz)
    assert found is not None and found.filter_range == 1
    assert 12 * (found.divf + 1) / 2**found.divq == board.chip_clock_mhz
    assert ice40.ice40_pll(12.0, 12.0) is None
    with pytest.raises(SetunError, match=r"nearest is 16\.875 MHz"):
        ice40.ice40_pll(12.0, 17.0)


def test_dry_run_writes_the_design(tmp_path: Path) -> None:
    code, out, error = invoke(*BUILD, str(tmp_path), "--dry-run", "--json")
    assert code == 0, error
    plan = json.loads(out)
    assert sum(plan["block_ram"][0].values()) <= plan["block_ram"][1] == 30
    pins = (tmp_path / "setun.pcf").read_text()
    assert {"clk12_0__io 35", "uart_0__rx__io 6", "uart_0__tx__io 9", "led_1__io 37"} <= {
        line.removeprefix("set_io ") for line in pins.splitlines()
    }
    design = (tmp_path / "setun.il").read_text()
    assert design.count("cell \\SB_SPRAM256KA") == 4 and design.count("cell \\SB_PLL40_PAD") == 1


def test_too_large_a_model_is_refused(tmp_path: Path) -> None:
    code, _, error = invoke(
        "build", "--board", "icebreaker", "--model", "shakespeare", "-o", str(tmp_path), "--dry-run"
    )
    assert code == 1 and error is not None
    assert not list(tmp_path.iterdir())
