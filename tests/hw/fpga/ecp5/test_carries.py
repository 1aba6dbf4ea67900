"""Ends of carry chains in a netlist as `write_json` has it."""

from typing import Any

from setun.hw.fpga.ecp5.carries import release_carries

FIRST, ADD = f"{0x0008:016b}", f"{0x96AA:016b}"


def cell(init: str, cin: Any, cout: int, s0: int, c0: Any = "1") -> dict[str, Any]:
    inputs = {"A0": 2, "B0": 3, "C0": c0, "D0": "1", "A1": 2, "B1": 3, "C1": "0", "D1": "1"}
    outputs = {"S0": s0, "S1": 9, "COUT": cout}
    return {
        "type": "CCU2C",
        "parameters": {"INIT0": init, "INIT1": ADD, "INJECT1_0": "NO", "INJECT1_1": "NO"},
        "port_directions": dict.fromkeys([*inputs, "CIN"], "input")
        | dict.fromkeys(outputs, "output"),
        "connections": {name: [bit] for name, bit in {**inputs, **outputs, "CIN": cin}.items()},
    }


def netlist(**cells: dict[str, Any]) -> dict[str, Any]:
    ports = {"i": {"direction": "input", "bits": [2, 3]}, "o": {"direction": "output", "bits": [9]}}
    return {"modules": {"top": {"ports": ports, "cells": cells}}}


def ends(c: dict[str, Any]) -> tuple[Any, Any]:
    return c["connections"]["CIN"][0], c["connections"]["COUT"][0]


def test_ends_that_carry_nothing_are_disconnected() -> None:
    first, last = cell(FIRST, "0", 10, 11), cell(ADD, 10, 12, 13, c0="0")
    assert release_carries(netlist(first=first, last=last)) == 2
    assert ends(first) == ("x", 10)
    assert ends(last) == (10, "x")
    assert release_carries(netlist(first=first, last=last)) == 0


def test_a_carry_that_matters_stays() -> None:
    adder = cell(ADD, "0", 9, 13, c0="0")  # its first sum bit takes the carry
    shown = cell(FIRST, "0", 9, 9)  # the carry itself leaves as a sum bit
    passed = cell(f"{0x0808:016b}", "0", 9, 13, c0=2)  # A & B passes it on while C is low
    injected = cell(FIRST, "0", 9, 13)
    injected["parameters"]["INJECT1_0"] = "YES"
    one = cell(FIRST, "1", 9, 13)
    for each in (adder, shown, passed, injected, one):
        before = ends(each)
        assert release_carries(netlist(only=each)) == 0
        assert ends(each) == before
