"""What the simulated chip is: the chip between its UART pins, and the memory beside it."""

from typing import Any

from amaranth.hdl import Assert, Format, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import Placement
from setun.hw.chip import Chip
from setun.hw.emit.conversion import to_verilog
from setun.hw.emit.verilog import TOP, Contents, chip_verilog, external_contents, memory_contents
from setun.hw.memory.external import capacity, flash_part, memory_pins, sdram_part
from setun.sim.memories.axi4 import Axi4Memory
from setun.sim.memories.bulk import NAME, bulk_verilog
from setun.sim.memories.flash import FlashModel
from setun.sim.memories.sdram import SdramModel
from setun.sim.simulator.dot import dot_verilog

AXI4_LATENCY = 50  # cycles from an address to its first beat
FLASH_WORD = 32  # bits
ERASE_US = 1000.0  # of a flash's sector, which takes 45 ms and more: a minute of simulation


class System(wiring.Component):
    """A chip with a memory outside the FPGA, and a model of that memory.

    Members: `rx`, `tx`, as of `setun.hw.chip.Chip`. An SDRAM or a flash that is used against its
    datasheet stops the simulation.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.chip = chip = Chip(self.config, technology="simulator")
        m.submodules.memory = memory = memory_model(self.config)
        m.d.comb += [chip.rx.eq(self.rx), self.tx.eq(chip.tx)]
        if isinstance(memory, Axi4Memory):
            wiring.connect(m, chip.memory, memory.axi)
        else:
            wiring.connect(m, chip.memory, memory.pins)
            v = memory.violation
            what = Format(f"{self.config.memory} rule {{}} broken in cycle {{}}", v.code, v.cycle)
            m.d.sync += Assert(v.code == 0, what)
        return m


def model_words(config: ChipConfig) -> tuple[int, int]:
    """Width in bits and number of the words that the memory model holds."""
    if config.memory == "qspi":
        sectors = -(-config.weight_bytes // config.sector)
        return FLASH_WORD, sectors * config.sector * 8 // FLASH_WORD
    size = capacity(config) if config.memory.startswith("axi4") else config.weight_bytes
    return config.beat, size * 8 // config.beat


def memory_model(config: ChipConfig) -> Any:
    """The model of a memory outside the FPGA."""
    width, depth = model_words(config)
    if config.memory.startswith("sdram"):
        return SdramModel(sdram_part(config), config.clock_hz, depth=depth, bulk=True)
    if config.memory == "qspi":
        return FlashModel(
            flash_part(config),
            config.clock_hz,
            first=config.flash_base,
            depth=depth * width // 8,
            erase_us=ERASE_US,
            bulk=True,
        )
    return Axi4Memory(width, depth, latency=AXI4_LATENCY)


def system_verilog(config: ChipConfig) -> str:
    """Verilog of a blank chip and its memory, top module `setun`, pins only."""
    if not memory_pins(config).members:
        return chip_verilog(config, technology="simulator") + dot_verilog(config.columns)
    text = to_verilog(System(config), TOP)
    return text + dot_verilog(config.columns) + bulk_verilog(*model_words(config))


def system_contents(config: ChipConfig, placement: Placement) -> dict[str, Contents]:
    """`memory_contents` of `system_verilog`: by memory name, the external memory included."""
    found = memory_contents(config, placement)
    if not memory_pins(config).members:
        return found
    found = {name.replace(f"{TOP}.", f"{TOP}.chip.", 1): c for name, c in found.items()}
    found[f"{NAME}.store"] = external_contents(placement, *model_words(config))
    return found
