"""Gateware of each kind of weight memory: controller, pins, capacity, and what waits for it."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring

from setun.firmware.config import MOST_BYTES, ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.memory_layout import MemoryLayout
from setun.hw.memory.contents import Contents, weight_contents
from setun.hw.memory.controllers import qspi_parts, sdram_timing, spram
from setun.hw.memory.controllers.axi4 import BOUNDARY, Axi4Reader
from setun.hw.memory.controllers.axi4_pins import axi4
from setun.hw.memory.controllers.geared import GearedController
from setun.hw.memory.controllers.qspi import QspiFlash
from setun.hw.memory.controllers.sdram import SdramController
from setun.hw.small.addresses import first_text
from setun.hw.technology import Technology

ADDRESS_BITS = 64  # of an AXI4 port
BURST = 32  # beats of a request: covers a row's opening, and is little to wait for
LATENCY = 256  # cycles from request to data that the queue bridges, pauses of the array included


class MemoryGateware:
    """Gateware of one kind of memory; of this class itself, of one that is inside of the core.

    Members
    -------
    prefix
        With which the names of its pins begin in Verilog.
    pads
        What a board calls the pins that lead to it, "" for none: families know pads by this name.
    patience
        Exponent of the cycles for which it may keep a healthy chip waiting, beyond its bandwidth.
    burst, latency
        Beats of a request at most, and those that the queue in front of the array bridges.
    """

    prefix = "memory__"
    pads = ""
    patience = 0
    burst, latency = BURST, LATENCY

    def part(self, config: ChipConfig) -> Any:
        """The part of a configuration; SetunError where there are none, or for another kind's."""
        raise SetunError("part", "must be of a memory that has parts", config.memory)

    def capacity(self, config: ChipConfig) -> int:
        """Bytes that it holds; as much as the chip uses where nothing limits it."""
        return config.external_bytes

    def most(self, config: ChipConfig) -> int:
        """Bytes of the largest model that it may hold."""
        return self.capacity(config)

    def pins(self, config: ChipConfig) -> wiring.Signature:
        """Pins of the chip that lead to it, as the controller drives them."""
        return wiring.Signature({})

    def controller(self, config: ChipConfig, technology: Technology, round_trip: int) -> Any:
        """Its controller, of `setun.hw.memory.controllers.port`."""
        raise SetunError("memory", "must be outside of the core to have a controller", "")

    def connect(self, m: Module, pins: Any, controller: Any) -> None:
        """Join pins of the chip, `pins`, and the controller."""

    def contents(self, config: ChipConfig, layout: MemoryLayout) -> dict[str, Contents]:
        """Contents of memories inside of the controller, by name."""
        return {}


class PartMemory(MemoryGateware):
    """A memory whose parts are told by `ChipConfig.part`.

    Parameters
    ----------
    usual
        Name of the part where the configuration names none.
    """

    parts: Mapping[str, Any]

    def __init__(self, usual: str) -> None:
        self.usual = usual

    def fits(self, config: ChipConfig, part: Any) -> bool:
        """Whether a part is of this kind."""
        return True

    def which(self, config: ChipConfig) -> str:
        """What all parts of this kind have in common."""
        raise NotImplementedError

    def part(self, config: ChipConfig) -> Any:
        """The part of a configuration; SetunError for one of another kind."""
        name = config.part or self.usual
        fitting = {name: part for name, part in self.parts.items() if self.fits(config, part)}
        if name not in fitting:
            rule = f"must be one of {', '.join(fitting)} {self.which(config)}"
            raise SetunError("part", rule, name)
        return fitting[name]

    def connect(self, m: Module, pins: Any, controller: Any) -> None:
        wiring.connect(m, pins, controller.pins)


class Sdram(PartMemory):
    """An SDR SDRAM, on the chip's clock or on the domain `fast`."""

    pads = "sdram"
    parts = sdram_timing.PARTS

    def fits(self, config: ChipConfig, part: Any) -> bool:
        return bool(part.dq * config.memory_kind.gear == config.beat)

    def which(self, config: ChipConfig) -> str:
        return f"with {config.beat // config.memory_kind.gear} data pins"

    def capacity(self, config: ChipConfig) -> int:
        return self.part(config).capacity

    def pins(self, config: ChipConfig) -> wiring.Signature:
        return sdram_timing.sdram_pins(self.part(config))

    def controller(self, config: ChipConfig, technology: Technology, round_trip: int) -> Any:
        gear = config.memory_kind.gear
        part, clock_hz = self.part(config), gear * config.clock_hz
        controller = SdramController(part, clock_hz, round_trip=round_trip)
        return controller if gear == 1 else GearedController(controller, gear)


class Qspi(PartMemory):
    """A quad SPI flash, behind the image of the FPGA."""

    pads = "qspi"
    parts = qspi_parts.PARTS
    patience = 28  # a prompt behind a write waits until a sector is erased: 2 s by the datasheet
    # Flash never gets ahead of the array, and what was asked for must come before a restart.
    burst, latency = 8, 0

    def which(self, config: ChipConfig) -> str:
        return "as quad SPI flash"

    def capacity(self, config: ChipConfig) -> int:
        return max(self.part(config).capacity - config.flash_base, 0)

    def pins(self, config: ChipConfig) -> wiring.Signature:
        return qspi_parts.flash_pins()

    def controller(self, config: ChipConfig, technology: Technology, round_trip: int) -> Any:
        return QspiFlash(self.part(config), config.clock_hz, base=config.flash_base)


class Axi4(MemoryGateware):
    """Whatever answers at an AXI4 port; it shows as much as the configuration uses."""

    prefix = "m_axi_"  # Vivado makes an interface of ports that are called so
    patience = 24  # other masters

    def capacity(self, config: ChipConfig) -> int:
        return -(-config.external_bytes // BOUNDARY) * BOUNDARY

    def most(self, config: ChipConfig) -> int:
        return MOST_BYTES

    def pins(self, config: ChipConfig) -> wiring.Signature:
        return axi4(config.beat, ADDRESS_BITS)

    def controller(self, config: ChipConfig, technology: Technology, round_trip: int) -> Any:
        return Axi4Reader(config.beat, self.capacity(config), address_bits=ADDRESS_BITS)

    def connect(self, m: Module, pins: Any, controller: Any) -> None:
        wiring.connect(m, pins, controller.axi)
        m.d.comb += [controller.enable.eq(1), controller.base.eq(0)]


class Spram(MemoryGateware):
    """Single-port RAM inside of the FPGA, side by side."""

    # It answers at once; what is asked for in advance keeps a row of the embedding waiting.
    burst, latency = 16, 64

    def capacity(self, config: ChipConfig) -> int:
        return spram.CAPACITY

    def controller(self, config: ChipConfig, technology: Technology, round_trip: int) -> Any:
        return spram.SpramWeights(technology)

    def contents(self, config: ChipConfig, layout: MemoryLayout) -> dict[str, Contents]:
        return {"ram": weight_contents(layout, spram.BEAT, spram.DEPTH)}


class SmallWeights(MemoryGateware):
    """Single-port RAM of the small core, which holds the constants and a terminal's tables too."""

    def capacity(self, config: ChipConfig) -> int:
        return first_text(config) * config.beat // 8


_AXI4 = Axi4()
# The first part is the ULX3S's, the flash the iCEBreaker's.
GATEWARE: dict[str, MemoryGateware] = {
    "onchip": MemoryGateware(),
    "sdram-16": Sdram("AS4C32M16SB-7"),
    "sdram-32": Sdram("IS42S32160-75"),
    "axi4-64": _AXI4,
    "axi4-128": _AXI4,
    "axi4-256": _AXI4,
    "axi4-512": _AXI4,
    "qspi": Qspi("W25Q128JV"),
    "spram": Spram(),
    "spram-16": SmallWeights(),
    "sdram-16x2": Sdram("AS4C32M16SB-7"),
}


def memory_gateware(config: ChipConfig) -> MemoryGateware:
    """The gateware of a chip's weight memory."""
    return GATEWARE[config.memory]
