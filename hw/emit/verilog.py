"""Configuration to Verilog, and a model to the initial contents of its memories."""

from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import MemoryLayout
from setun.hw.array.rows import FAST, needs_fast_clock
from setun.hw.chip import Chip
from setun.hw.cores import core_gateware
from setun.hw.emit.conversion import port_name, to_verilog
from setun.hw.link.link import host_members
from setun.hw.memory.contents import Contents
from setun.hw.memory.external import memory_pins
from setun.hw.memory.kinds import memory_gateware
from setun.hw.technology import GENERIC, Technology

TOP = "setun"
MEMORY = "memory"  # the chip's member with the pins of an external memory

WAIVED = {
    "CASEINCOMPLETE": "what no case names keeps the value that was assigned before",
    "CMPCONST": "a unit of any size may compare with the last number that there is",
    "DECLFILENAME": "one file has all modules",
    "PROCASSINIT": "registers begin with the value of their reset",
    "UNUSEDSIGNAL": "fields of structures have names of their own",
    "VARHIDDEN": "a signal may be called like the instance that it is in",
    "WIDTHEXPAND": "a constant is as wide as its value",
    "WIDTHTRUNC": "! of a vector is whether all of it is 0",
}
"""Warnings of Verilator's -Wall that the Verilog turns off, and why they do no harm."""

HOST = "host"  # its member with the pins of a mailbox
HOST_PREFIX = "s_axi_"

_PINS = {
    "clk": "input, 1 bit: clock; every register uses its rising edge",
    "rst": "input, 1 bit: synchronous reset, active high",
}

_UART = {
    "rx": "input, 1 bit: UART from the host, 8N1, idle high, may be asynchronous",
    "tx": "output, 1 bit: UART to the host, 8N1, idle high",
}

_FAST_CLOCK = "input, 1 bit: twice clk's frequency, from one source; rises with clk and halfway"


def chip_ports(config: ChipConfig, technology: Technology = GENERIC) -> dict[str, str]:
    """Ports of `chip_verilog` by name, the pins of an external memory included."""
    ports = dict(_PINS)
    if needs_fast_clock(config, technology):
        ports[f"{FAST}_clk"] = _FAST_CLOCK
    ports |= _described(config, MEMORY, memory_pins(config), config.memory)
    if config.mailbox:
        host = host_members(True)[HOST].signature
        return ports | _described(config, HOST, host, "mailbox, axi4-lite")
    return ports | _UART


def _described(
    config: ChipConfig, member: str, pins: wiring.Signature, about: str
) -> dict[str, str]:
    """The ports of a member, whose pins are as the chip drives them."""
    found = {}
    for name, pin in pins.members.items():
        way = "output" if pin.flow is Out else "input"
        port = port_name([member, name], _prefixes(config))
        found[port] = f"{way}, {Shape.cast(pin.shape).width} bit: {about}"
    return found


def _prefixes(config: ChipConfig) -> dict[str, str]:
    return {MEMORY: memory_gateware(config).prefix, HOST: HOST_PREFIX}


def chip_verilog(
    config: ChipConfig, layout: MemoryLayout | None = None, technology: Technology = GENERIC
) -> str:
    """Verilog of the whole chip, top module `setun`, ports `chip_ports`; deterministic.

    Verilator's -Wall is silent, but for `WAIVED`, which are turned off at its head.

    With a memory layout its block RAM starts with that model; without, the chip starts blank.
    """
    text = to_verilog(Chip(config, layout, technology), TOP, _prefixes(config))
    waived = (f"/* verilator lint_off {name} */ // {why}\n" for name, why in WAIVED.items())
    return "".join([*waived, text])


def memory_contents(config: ChipConfig, layout: MemoryLayout) -> dict[str, Contents]:
    """What the chip's own memories hold once a model is loaded, by name in `chip_verilog`.

    Lets a simulator swap models without compiling the chip again.
    """
    held = core_gateware(config).contents(config, layout)
    return {f"{TOP}.core.{name}": each for name, each in held.items()}
