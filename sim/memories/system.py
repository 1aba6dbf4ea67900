"""What the simulated chip is: the chip between its UART pins, and the memory beside it."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import MemoryLayout
from setun.hw.chip import Chip
from setun.hw.cores import core_gateware
from setun.hw.emit.conversion import to_verilog
from setun.hw.emit.verilog import TOP, chip_verilog, memory_contents
from setun.hw.memory.contents import Contents, weight_contents
from setun.sim.memories.bulk import NAME, bulk_verilog
from setun.sim.memories.kinds import memory_model
from setun.sim.simulator.dot import SIMULATOR, dot_verilog


class System(wiring.Component):
    """A chip with a memory outside the FPGA, and a model of that memory.

    Members: `rx`, `tx`, as of `setun.hw.chip.Chip`. A part that is used against its datasheet
    stops the simulation.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        model = memory_model(self.config)
        m.submodules.chip = chip = Chip(self.config, technology=SIMULATOR)
        m.submodules.memory = memory = model.component(self.config)
        m.d.comb += [chip.rx.eq(self.rx), self.tx.eq(chip.tx)]
        model.connect(m, self.config, chip.memory, memory)
        return m


def system_verilog(config: ChipConfig) -> str:
    """Verilog of a blank chip and its memory, top module `setun`, pins only."""
    words = memory_model(config).words(config)
    if words is None:
        return chip_verilog(config, technology=SIMULATOR) + dot_verilog(config.columns)
    text = to_verilog(System(config), TOP)
    return text + dot_verilog(config.columns) + bulk_verilog(*words)


def system_contents(config: ChipConfig, layout: MemoryLayout) -> dict[str, Contents]:
    """`memory_contents` of `system_verilog`: by memory name, the external memory included.

    SetunError if a memory is too small for what the chip keeps there.
    """
    core_gateware(config).check(config)
    found = memory_contents(config, layout)
    words = memory_model(config).words(config)
    if words is None:
        return found
    found = {name.replace(f"{TOP}.", f"{TOP}.chip.", 1): c for name, c in found.items()}
    found[f"{NAME}.store"] = weight_contents(layout, *words)
    return found
