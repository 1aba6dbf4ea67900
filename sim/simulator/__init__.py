"""The simulated chip: Verilog compiled to an executable whose UART is a serial port.

``compile_chip`` turns the generated Verilog into an executable, once; ``SimulatedChip`` runs it.
The host side opens ``SimulatedChip.port`` like a board's port.
"""

from setun.sim.simulator.build import compile_chip
from setun.sim.simulator.cache import cache_folder
from setun.sim.simulator.chip import SimulatedChip
from setun.sim.simulator.memories import Memory, externalise_memories, memory_file
from setun.sim.simulator.tools import Tools, find_tools

__all__ = [
    "Memory",
    "SimulatedChip",
    "Tools",
    "cache_folder",
    "compile_chip",
    "externalise_memories",
    "find_tools",
    "memory_file",
]
