"""Ends of carry chains, as nextpnr should see them."""

from collections.abc import Mapping
from typing import Any

UNCONNECTED = ["x"]


def _used_nets(module: Mapping[str, Any]) -> set[int]:
    used = {bit for port in module["ports"].values() for bit in port["bits"]}
    for cell in module["cells"].values():
        directions = cell["port_directions"]
        for port, bits in cell["connections"].items():
            if directions[port] != "output":
                used.update(bits)
    return used


def _ignores_carry(cell: Mapping[str, Any], used: set[int]) -> bool:
    """Whether nothing depends on CIN of a CCU2C: the sum goes nowhere, the carry is not passed."""
    ports = cell["connections"]
    if cell["parameters"]["INJECT1_0"] != "NO" or ports["S0"][0] in used:
        return False
    init = cell["parameters"]["INIT0"][::-1]
    inputs = [ports[f"{name}0"][0] for name in "ABCD"]
    return all(
        init[index] == "0"
        for index in range(16)
        if all(bit not in ("0", "1") or index >> k & 1 == int(bit) for k, bit in enumerate(inputs))
    )


def release_carries(netlist: Mapping[str, Any]) -> int:
    """Disconnect the ends of carry chains that carry nothing, in a netlist of Yosys' `write_json`.

    ABC9 connects every port of a carry cell: an unused COUT to a net without readers, a CIN
    left open to 0. nextpnr spends a whole CCU2C on each such end to bring it out of the chain
    or into it.

    Returns
    -------
    int
        Ends disconnected.
    """
    count = 0
    for module in netlist["modules"].values():
        used = _used_nets(module)
        for cell in module["cells"].values():
            if cell["type"] != "CCU2C":
                continue
            ports = cell["connections"]
            if ports["COUT"] != UNCONNECTED and ports["COUT"][0] not in used:
                ports["COUT"] = UNCONNECTED
                count += 1
            if ports["CIN"] == ["0"] and _ignores_carry(cell, used):
                ports["CIN"] = UNCONNECTED
                count += 1
    return count
