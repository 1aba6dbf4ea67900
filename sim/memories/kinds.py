"""Model of each kind of weight memory: one list."""

from typing import Any

from amaranth.hdl import Assert, DomainRenamer, Format, Module
from amaranth.lib import wiring

from setun.firmware.config import ChipConfig
from setun.firmware.memory_kinds import SECTOR
from setun.hw.array.rows import FAST
from setun.hw.memory.kinds import memory_gateware
from setun.sim.memories.axi4 import Axi4Memory
from setun.sim.memories.flash import FlashModel
from setun.sim.memories.sdram import SdramModel

AXI4_LATENCY = 50  # cycles from an address to its first beat
FLASH_WORD = 32  # bits
ERASE_US = 1000.0  # of a flash's sector, which takes 45 ms and more: a minute of simulation


class MemoryModel:
    """Model of a memory beside the FPGA; `words` is None where the weights lie inside."""

    def words(self, config: ChipConfig) -> tuple[int, int] | None:
        """Width in bits and number of the words that it holds."""
        return None

    def component(self, config: ChipConfig) -> Any:
        """The memory, to be elaborated beside the chip."""
        raise NotImplementedError

    def connect(self, m: Module, config: ChipConfig, pins: Any, memory: Any) -> None:
        """Join the chip's pins and the memory; use against its datasheet stops the simulation."""
        wiring.connect(m, pins, memory.pins)
        v = memory.violation
        what = Format(f"{config.memory} rule {{}} broken in cycle {{}}", v.code, v.cycle)
        m.d[self.domain(config)] += Assert(v.code == 0, what)

    def domain(self, config: ChipConfig) -> str:
        """The part's."""
        return FAST if config.memory_kind.gear > 1 else "sync"


class Sdram(MemoryModel):
    """An SDR SDRAM as large as the chip needs it."""

    def words(self, config: ChipConfig) -> tuple[int, int]:
        width = config.beat // config.memory_kind.gear
        return width, config.external_bytes * 8 // width

    def component(self, config: ChipConfig) -> Any:
        part, (_, depth) = memory_gateware(config).part(config), self.words(config)
        clock_hz = config.memory_kind.gear * config.clock_hz
        model = SdramModel(part, clock_hz, depth=depth, bulk=True)
        domain = self.domain(config)
        return model if domain == "sync" else DomainRenamer(domain)(model)


class Qspi(MemoryModel):
    """A quad SPI flash: whole sectors."""

    def words(self, config: ChipConfig) -> tuple[int, int]:
        sectors = -(-config.memory_bytes // SECTOR)
        return FLASH_WORD, sectors * SECTOR * 8 // FLASH_WORD

    def component(self, config: ChipConfig) -> FlashModel:
        width, depth = self.words(config)
        return FlashModel(
            memory_gateware(config).part(config),
            config.clock_hz,
            first=config.flash_base,
            depth=depth * width // 8,
            erase_us=ERASE_US,
            bulk=True,
        )


class Axi4(MemoryModel):
    """A memory behind an AXI4 port."""

    def words(self, config: ChipConfig) -> tuple[int, int]:
        return config.beat, memory_gateware(config).capacity(config) * 8 // config.beat

    def component(self, config: ChipConfig) -> Axi4Memory:
        return Axi4Memory(*self.words(config), latency=AXI4_LATENCY)

    def connect(self, m: Module, config: ChipConfig, pins: Any, memory: Any) -> None:
        wiring.connect(m, pins, memory.axi)


_INSIDE, _SDRAM, _AXI4 = MemoryModel(), Sdram(), Axi4()
MODELS: dict[str, MemoryModel] = {
    "onchip": _INSIDE,
    "sdram-16": _SDRAM,
    "sdram-32": _SDRAM,
    "axi4-64": _AXI4,
    "axi4-128": _AXI4,
    "axi4-256": _AXI4,
    "axi4-512": _AXI4,
    "qspi": Qspi(),
    "spram": _INSIDE,
    "spram-16": _INSIDE,
    "sdram-16x2": _SDRAM,
}


def memory_model(config: ChipConfig) -> MemoryModel:
    """The model of a chip's weight memory."""
    return MODELS[config.memory]
