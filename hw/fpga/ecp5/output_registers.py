"""Registers behind block RAM, moved into it."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any


def absorb_registers(netlist: Mapping[str, Any]) -> int:
    """Use the output registers of DP16KD, in a netlist of Yosys' `write_json`.

    A block answers 5.6 ns after its clock, with its output register after less than 1 ns, and
    Yosys leaves that unused. A port takes over the registers behind it if each of its outputs is
    read by plain registers of its clock alone, and if it is enabled always: then they hold what
    the block's own would. They start at 0, as it does.

    Returns
    -------
    int
        Registers that are gone.
    """
    return sum(_absorb(module) for module in netlist["modules"].values())


def _absorb(module: Mapping[str, Any]) -> int:
    cells = module["cells"]
    readers: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] != "output":
                for bit in bits:
                    readers[bit].append((name, port))
    seen = {bit for port in module["ports"].values() for bit in port["bits"]}
    gone = 0
    for block in [cell for cell in cells.values() if cell["type"] == "DP16KD"]:
        for side, clock in _sides(block):
            outputs = [
                (port, bits[0])
                for port, bits in block["connections"].items()
                if port.startswith(tuple(f"DO{letter}" for letter in side))
                and (readers[bits[0]] or bits[0] in seen)
            ]
            taken = {bit: [name for name, _ in readers[bit]] for _, bit in outputs}
            fits = all(
                bit not in seen
                and all(port == "DI" and _follows(cells[name], clock) for name, port in found)
                for bit, found in ((bit, readers[bit]) for _, bit in outputs)
            )
            if not outputs or not fits:
                continue
            for letter in side:
                block["parameters"][f"REGMODE_{letter}"] = "OUTREG"
                block["connections"][f"OCE{letter}"] = ["1"]
            for port, bit in outputs:
                first, *others = (cells[name]["connections"]["Q"][0] for name in taken[bit])
                block["connections"][port] = [first]
                for other in others:
                    for name, reader in readers[other]:
                        bits = cells[name]["connections"][reader]
                        bits[bits.index(other)] = first
                    readers[first] += readers[other]
                for name in taken[bit]:
                    del cells[name]
                    gone += 1
    return gone


def _sides(block: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Ports that answer at every edge, and their clocks.

    A word of 36 bits is read by port B and comes out of both: on one clock, or not at all.
    """
    wires = block["connections"]
    wide = int(str(block["parameters"].get("DATA_WIDTH_B", "0")), 2) == 36
    if wide and wires.get("CLKA") != wires.get("CLKB"):
        return []
    return [
        ("AB" if wide else letter, wires[f"CLK{letter}"])
        for letter in ("B" if wide else "AB")
        if wires.get(f"CE{letter}") == ["1"] and wires.get(f"RST{letter}") == ["0"]
    ]


def _follows(cell: Mapping[str, Any], clock: Any) -> bool:
    """Whether a cell is a register that starts at 0 and takes its data at every edge."""
    if cell["type"] != "TRELLIS_FF":
        return False
    says = {name: str(value).strip() for name, value in cell["parameters"].items()}
    wires = cell["connections"]
    return (
        wires["CLK"] == clock
        and says.get("CLKMUX", "CLK") == "CLK"
        and says.get("REGSET", "RESET") == "RESET"
        and says.get("LSRMUX", "LSR") == "LSR"
        and wires.get("LSR", ["0"]) == ["0"]
        and (says.get("CEMUX") == "1" or wires.get("CE") == ["1"])
    )
