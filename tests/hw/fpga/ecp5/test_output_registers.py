"""Registers behind block RAM in a netlist as `write_json` has it."""

from typing import Any

import pytest

from setun.hw.fpga.ecp5.output_registers import absorb_registers

CLOCK, OTHER = 2, 3
OUTPUTS = {f"DO{side}{k}": side for side in "AB" for k in range(18)}


def block(width: int = 9, **wires: Any) -> dict[str, Any]:
    """A block whose port A gives the nets 10 and 11."""
    inputs = {"CLKA": CLOCK, "CLKB": CLOCK, "CEA": "1", "CEB": "1", "RSTA": "0", "RSTB": "0"}
    inputs |= {"OCEA": "0", "OCEB": "0"}
    outputs: dict[str, Any] = dict(zip(OUTPUTS, range(100, 136), strict=True))
    outputs |= {"DOA0": 10, "DOA1": 11}
    return {
        "type": "DP16KD",
        "parameters": {"DATA_WIDTH_B": f"{width:032b}", "REGMODE_A": "NOREG", "REGMODE_B": "NOREG"},
        "port_directions": dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output"),
        "connections": {name: [bit] for name, bit in (inputs | outputs | wires).items()},
    }


def register(data: int, q: int, *, clock: int = CLOCK, **says: str) -> dict[str, Any]:
    wires: dict[str, Any] = {"CLK": [clock], "DI": [data], "Q": [q], "LSR": ["0"]}
    if says.get("CEMUX") == "CE":
        wires["CE"] = [4]
    return {
        "type": "TRELLIS_FF",
        "parameters": {"CEMUX": "1 ", "CLKMUX": "CLK", "LSRMUX": "LSR", "REGSET": "RESET"} | says,
        "port_directions": {name: "output" if name == "Q" else "input" for name in wires},
        "connections": wires,
    }


def reader(*bits: int) -> dict[str, Any]:
    return {
        "type": "LUT4",
        "parameters": {},
        "port_directions": dict.fromkeys("ABCD", "input"),
        "connections": {"A": list(bits), "B": [], "C": [], "D": []},
    }


def netlist(shown: int = 40, **cells: dict[str, Any]) -> dict[str, Any]:
    ports = {"o": {"direction": "output", "bits": [shown]}}
    return {"modules": {"top": {"ports": ports, "cells": cells}}}


def test_registers_move_into_the_block() -> None:
    cells = {
        "ram": block(),
        "r0": register(10, 20),
        "r1": register(11, 21),
        "twin": register(11, 22),
        "next": register(22, 40, CEMUX="CE"),
        "lut": reader(20, 21, 22),
    }
    assert absorb_registers(netlist(**cells)) == 3
    ram = cells["ram"]
    assert ram["parameters"]["REGMODE_A"] == "OUTREG"
    assert ram["parameters"]["REGMODE_B"] == "NOREG"
    wires = ram["connections"]
    assert (wires["DOA0"], wires["DOA1"], wires["OCEA"]) == ([20], [21], ["1"])
    found = netlist(**cells)
    top = found["modules"]["top"]["cells"]
    assert top["lut"]["connections"]["A"] == [20, 21, 21]
    assert top["next"]["connections"]["DI"] == [21]


@pytest.mark.parametrize(
    "change",
    [
        {"r1": reader(11)},
        {"r1": register(11, 21, clock=OTHER)},
        {"r1": register(11, 21, CEMUX="CE")},
        {"r1": register(11, 21, REGSET="SET")},
        {"r1": register(11, 21, CLKMUX="INV")},
        {"ram": block(CEA=5)},
        {"ram": block(RSTA=5)},
        {"more": reader(10)},
        {"shown": 11},
        {"ram": block(36, CLKA=OTHER)},
        {"ram": block(36, CEB=5)},
    ],
)
def test_what_is_not_the_same_stays(change: dict[str, Any]) -> None:
    cells = {"ram": block(), "r0": register(10, 20), "r1": register(11, 21), "lut": reader(20, 21)}
    before = repr(cells | change)
    assert absorb_registers(netlist(**(cells | change))) == 0
    assert repr(cells | change) == before


def test_a_wide_word_comes_out_of_both_ports() -> None:
    cells = {
        "ram": block(36, DOB17=12),
        "r0": register(10, 20),
        "r1": register(11, 21),
        "r2": register(12, 22),
        "lut": reader(20, 21, 22),
    }
    assert absorb_registers(netlist(**cells)) == 3
    says = cells["ram"]["parameters"]
    assert says["REGMODE_A"] == says["REGMODE_B"] == "OUTREG"
    assert cells["ram"]["connections"]["OCEA"] == cells["ram"]["connections"]["OCEB"] == ["1"]
