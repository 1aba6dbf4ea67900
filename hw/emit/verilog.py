"""Configuration to Verilog, and a model to the initial contents of its memories."""

from amaranth.hdl import Shape
from amaranth.lib.wiring import Out

from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import MemoryLayout
from setun.hw.array.rows import FAST, needs_fast_clock
from setun.hw.chip import Chip
from setun.hw.cores import core_gateware
from setun.hw.emit.conversion import to_verilog
from setun.hw.memory.contents import Contents
from setun.hw.memory.external import memory_pins
from setun.hw.technology import GENERIC, Technology

TOP = "setun"

_PINS = {
    "clk": "input, 1 bit: clock; every register uses its rising edge",
    "rst": "input, 1 bit: synchronous reset, active high",
    "rx": "input, 1 bit: UART from the host, 8N1, idle high, may be asynchronous",
    "tx": "output, 1 bit: UART to the host, 8N1, idle high",
}

_FAST_CLOCK = "input, 1 bit: twice clk's frequency, from one source; rises with clk and halfway"


def chip_ports(config: ChipConfig, technology: Technology = GENERIC) -> dict[str, str]:
    """Ports of `chip_verilog` by name, the pins of an external memory included."""
    ports = dict(_PINS)
    if needs_fast_clock(config, technology):
        ports[f"{FAST}_clk"] = _FAST_CLOCK
    for name, member in memory_pins(config).members.items():
        way = "output" if member.flow is Out else "input"
        bits = Shape.cast(member.shape).width
        ports[f"memory__{name}"] = f"{way}, {bits} bit: {config.memory}"
    return ports


def chip_verilog(
    config: ChipConfig, layout: MemoryLayout | None = None, technology: Technology = GENERIC
) -> str:
    """Verilog of the whole chip, top module `setun`, ports `chip_ports`; deterministic.

    With a memory layout its block RAM starts with that model; without, the chip starts blank.
    """
    return to_verilog(Chip(config, layout, technology), TOP)


def memory_contents(config: ChipConfig, layout: MemoryLayout) -> dict[str, Contents]:
    """What the chip's own memories hold once a model is loaded, by name in `chip_verilog`.

    Lets a simulator swap models without compiling the chip again.
    """
    held = core_gateware(config).contents(config, layout)
    return {f"{TOP}.core.{name}": each for name, each in held.items()}
