"""Configuration to Verilog, and a model to the initial contents of its memories."""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Shape
from amaranth.lib.wiring import Out

from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import Placement, Space
from setun.hw.array.dot import Technology
from setun.hw.array.rows import FAST, needs_fast_clock
from setun.hw.chip import Chip
from setun.hw.emit.conversion import to_verilog
from setun.hw.memory.controllers import spram
from setun.hw.memory.external import memory_pins
from setun.hw.memory.spaces import shapes
from setun.hw.memory.store import segments
from setun.hw.small.core import contents

TOP = "setun"

_PINS = {
    "clk": "input, 1 bit: clock; every register uses its rising edge",
    "rst": "input, 1 bit: synchronous reset, active high",
    "rx": "input, 1 bit: UART from the host, 8N1, idle high, may be asynchronous",
    "tx": "output, 1 bit: UART to the host, 8N1, idle high",
}

_FAST_CLOCK = "input, 1 bit: twice clk's frequency, from one source; rises with clk and halfway"


def chip_ports(config: ChipConfig, technology: Technology = "generic") -> dict[str, str]:
    """Ports of `chip_verilog` by name, the pins of an external memory included."""
    ports = dict(_PINS)
    if needs_fast_clock(config, technology):
        ports[f"{FAST}_clk"] = _FAST_CLOCK
    for name, member in memory_pins(config).members.items():
        way = "output" if member.flow is Out else "input"
        bits = Shape.cast(member.shape).width
        ports[f"memory__{name}"] = f"{way}, {bits} bit: {config.memory}"
    return ports


@dataclass(frozen=True)
class Contents:
    """Initial words of one memory of the Verilog, all of its `depth`."""

    width: int
    words: Sequence[int]


def chip_verilog(
    config: ChipConfig, placement: Placement | None = None, technology: Technology = "generic"
) -> str:
    """Verilog of the whole chip, top module `setun`, ports `chip_ports`; deterministic.

    With a placement its block RAM starts with that model; without, the chip starts blank.
    """
    return to_verilog(Chip(config, placement, technology), TOP)


def external_contents(placement: Placement, width: int, depth: int) -> Contents:
    """`depth` words of `width` bits of external weight memory, zeros behind the model."""
    raw = placement.spaces[Space.WEIGHTS].astype("<u4").tobytes().ljust(depth * width // 8, b"\0")
    size = width // 8
    words = [int.from_bytes(raw[k : k + size], "little") for k in range(0, len(raw), size)]
    return Contents(width, words)


def memory_contents(config: ChipConfig, placement: Placement) -> dict[str, Contents]:
    """What the chip's own memories hold once a model is loaded, by name in `chip_verilog`.

    Lets a simulator swap models without compiling the chip again.
    """
    if config.small:
        return _small_contents(config, placement)
    found = {}
    for space, shape in shapes(config).items():
        outside = config.external and space is Space.WEIGHTS
        if outside or space not in placement.spaces:
            continue
        name = space.name.lower()
        words = shape.words(placement.spaces[space])
        start = 0
        for k, depth in enumerate(segments(shape.depth, shape.width)):
            part = words[start : start + depth]
            found[f"{TOP}.core.memories.{name}.{name}{k}"] = Contents(
                shape.width, [*part, *[0] * (depth - len(part))]
            )
            start += depth
    if config.memory == "spram":
        name = f"{TOP}.core.outside.controller.ram"
        found[name] = external_contents(placement, spram.BEAT, spram.DEPTH)
    return found


def _small_contents(config: ChipConfig, placement: Placement) -> dict[str, Contents]:
    """`memory_contents` of a small chip."""
    return {
        f"{TOP}.core.{name}.words": Contents(c.width, [*c.words, *[0] * (c.depth - len(c.words))])
        for name, c in contents(config, placement).items()
    }
