"""A family of FPGAs: everything that the flow, reports and estimates ask of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.hw.fpga.flow.bit_map import Block
from setun.hw.memory.blocks import SHAPES
from setun.hw.technology import GENERIC, Technology

# Resources that reports and estimates tell of, and what people call them.
WORDS = {
    "luts": "LUTs",
    "registers": "registers",
    "block_ram": "block RAM",
    "multipliers": "multipliers",
    "single_port_ram": "single-port RAM",
    "memory_bytes": "bytes of memory",
}


@dataclass(frozen=True)
class Spec:
    """A tool of the flow.

    Parameters
    ----------
    name
        Of the program.
    variable
        Of the environment, that names another one.
    minimum
        Oldest native version that is used.
    module, entry
        The YoWASP package's module and function.
    distribution
        What pip calls the package.
    """

    name: str
    variable: str
    minimum: tuple[int, int]
    module: str
    entry: str
    distribution: str


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Tools of a family and how they are asked.

    Parameters
    ----------
    synthesis
        Script for Yosys; NAME.il to NAME.json and stat.json.
    placer, packer
        Programs behind it.
    placer_options
        Further options of nextpnr.
    placed, placed_option
        Suffix of what nextpnr writes, and its option for it.
    pins, open_pins
        Its options for the file of pins, and for a design without one.
    suffix
        Of the bitstream.
    pack
        The packer's arguments for a name.
    constraints
        Suffix of the platform's file of pins.
    """

    synthesis: str
    placer: Spec
    placer_options: tuple[str, ...] = ()
    placed: str
    placed_option: str
    pins: str
    open_pins: str
    packer: Spec
    suffix: str
    pack: Callable[[str], list[str]]
    constraints: str


@dataclass(frozen=True, kw_only=True)
class Device:
    """An FPGA as the vendor names it."""

    device: str
    package: str
    speed: str


class Patching(Protocol):
    """Contents of block RAM in the files of a family's tools, by the number of the block."""

    def netlist_blocks(self, netlist: Mapping[str, Any]) -> dict[str, Block]:
        """Blocks of a netlist of Yosys' `write_json`, by the cell's name."""

    def placed_blocks(self, text: str) -> dict[int, Block]:
        """Blocks of a placed chip that nextpnr wrote; SetunError for other text."""

    def with_blocks(self, text: str, blocks: Mapping[int, Block]) -> str:
        """The placed chip with these blocks; SetunError where it lacks one of them."""


class Family:
    """A family; this one is of FPGAs that only somebody else's tools know: Verilog goes there.

    Members
    -------
    name
        What boards call it.
    technology
        Cells in Verilog for it.
    flow_technology
        Cells in a design for its own tools.
    tools
        None where there are none.
    resources
        Neutral names of what nextpnr counts: luts, registers, block_ram, multipliers and others.
    costs
        Resources that each cell of a netlist takes.
    words
        What people call its resources.
    block_shapes
        Words of a block of its block RAM, at each data width.
    patching
        How a model gets into a finished chip; None where it cannot.
    sram
        Whether programmers reach the FPGA's own memory, beside its flash.
    """

    name = "generic"
    technology: Technology = GENERIC
    flow_technology: Technology = GENERIC
    tools: Tools | None = None
    resources: Mapping[str, str] = {}
    costs: Mapping[str, Mapping[str, int]] = {}
    words: Mapping[str, str] = {}
    block_shapes: Mapping[int, int] = SHAPES
    patching: Patching | None = None
    sram = True

    def flow(self) -> Tools:
        """Its tools; SetunError where there are none."""
        if self.tools is None:
            raise SetunError("FPGA", "must be of a family that has tools here", self.name)
        return self.tools

    def device_options(self, device: Device) -> list[str]:
        """Options by which nextpnr knows a device; SetunError for an unknown one."""
        raise SetunError("FPGA", "must be of a family that has tools here", device.device)

    def round_trip(self, config: ChipConfig) -> int:
        """Edges that its pads add on the way to an SDRAM and back.

        See `setun.hw.memory.controllers.sdram.SdramController`.
        """
        return 1

    def check_clock(self, input_mhz: float, clock_mhz: float, pump: int) -> None:
        """SetunError when the PLL does not make `pump` times the clock of the chip."""

    def top(self, chip: Any, board: Any, clock_mhz: float, pump: int) -> Any:
        """The chip on a board of this family, to be elaborated by the board's platform."""
        raise SetunError("board", "must be of a family that has tools here", self.name)

    def finish_netlist(self, netlist: Any) -> bool:
        """Change a netlist of Yosys' `write_json` for nextpnr; whether anything has to be."""
        return False

    def neutral(self, counts: Mapping[str, Any]) -> dict[str, Any]:
        """Counts by neutral name of the resource, where there is one; sorted."""
        named = {self.resources.get(name, name): count for name, count in counts.items()}
        return dict(sorted(named.items()))

    def needs(self, cells: Mapping[str, int]) -> dict[str, int]:
        """Least resources that a netlist of these cells takes."""
        total: dict[str, int] = {}
        for cell, count in cells.items():
            for resource, cost in self.costs.get(cell, {}).items():
                total[resource] = total.get(resource, 0) + cost * count
        return total

    @property
    def block_bits(self) -> int:
        """Bits of a block of its block RAM."""
        return max(depth * width for depth, width in self.block_shapes.items())

    def called(self, resource: str) -> str:
        """What people call a resource of it."""
        return self.words.get(resource) or WORDS.get(resource, resource)
