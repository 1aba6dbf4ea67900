"""What the simulated chip is: the chip between its UART pins, and the memory beside it."""

from typing import Any

from amaranth.hdl import Assert, Format, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.firmware.placement import Placement, Space
from setun.hw.chip import Chip
from setun.hw.conversion import to_verilog
from setun.hw.external import capacity, sdram_part
from setun.hw.verilog import TOP, Contents, chip_verilog, memory_contents
from setun.sim.memories.axi4 import Axi4Memory
from setun.sim.memories.bulk import NAME, bulk_verilog
from setun.sim.memories.sdram import SdramModel

AXI4_LATENCY = 50  # cycles from an address to its first beat
AHEAD = 1 << 14  # bytes behind the weights that the DMA may read and nobody use


class System(wiring.Component):
    """A chip with an external memory, and a model of that memory.

    Members: `rx`, `tx`, as of `setun.hw.chip.Chip`. An SDRAM that is used against its datasheet
    stops the simulation.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.chip = chip = Chip(self.config)
        m.submodules.memory = memory = memory_model(self.config)
        m.d.comb += [chip.rx.eq(self.rx), self.tx.eq(chip.tx)]
        if isinstance(memory, SdramModel):
            wiring.connect(m, chip.memory, memory.pins)
            v = memory.violation
            what = Format("SDRAM rule {} broken in cycle {}", v.code, v.cycle)
            m.d.sync += Assert(v.code == 0, what)
        else:
            wiring.connect(m, chip.memory, memory.axi)
        return m


def model_depth(config: ChipConfig) -> int:
    """Beats that the memory model holds."""
    size = min(capacity(config), config.weight_bytes + AHEAD)
    if config.memory.startswith("axi4"):
        size = capacity(config)
    return size * 8 // config.weight_port


def memory_model(config: ChipConfig) -> Any:
    """The model of a configuration's external memory."""
    depth = model_depth(config)
    if config.memory.startswith("sdram"):
        return SdramModel(sdram_part(config), config.clock_hz, depth=depth, bulk=True)
    return Axi4Memory(config.weight_port, depth, latency=AXI4_LATENCY)


def system_verilog(config: ChipConfig) -> str:
    """Verilog of a blank chip and its memory, top module `setun`, pins only."""
    if not config.external:
        return chip_verilog(config)
    text = to_verilog(System(config), TOP)
    return text + bulk_verilog(config.weight_port, model_depth(config))


def system_contents(config: ChipConfig, placement: Placement) -> dict[str, Contents]:
    """`memory_contents` of `system_verilog`: by memory name, the external memory included."""
    found = memory_contents(config, placement)
    if not config.external:
        return found
    found = {name.replace(f"{TOP}.", f"{TOP}.chip.", 1): c for name, c in found.items()}
    beat = config.weight_port // 8
    raw = placement.spaces[Space.WEIGHTS].astype("<u4").tobytes()
    raw += bytes(model_depth(config) * beat - len(raw))
    words = [int.from_bytes(raw[k : k + beat], "little") for k in range(0, len(raw), beat)]
    found[f"{NAME}.store"] = Contents(config.weight_port, words)
    return found
