"""The small core, as chip, flow and estimate ask for it."""

from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.memory_layout import MemoryLayout
from setun.firmware.program.isa import WORDS
from setun.hw.link.signature import Ties
from setun.hw.memory.blocks import Ram
from setun.hw.memory.contents import Contents
from setun.hw.memory.external import check_capacity
from setun.hw.small.addresses import BLOCK, constants_end, first_state
from setun.hw.small.core import SmallCore, contents, ties
from setun.hw.small.store import WIDTH
from setun.hw.technology import Technology

FIXED_BLOCKS = 22 * [Ram(256, WIDTH)]  # tables, microprogram, link


class SmallGateware:
    """Gateware of `setun.hw.small.core.SmallCore`; see `setun.hw.cores.CoreGateware`."""

    counters: tuple[str, ...] = ()

    def ties(self, config: ChipConfig) -> Ties:
        """No counters, one context, and text in the memory of the weights."""
        return ties(config)

    def component(
        self,
        config: ChipConfig,
        layout: MemoryLayout | None,
        technology: Technology,
        *,
        round_trip: int,
        patience: int | None,
    ) -> SmallCore:
        """The core."""
        return SmallCore(config, layout, technology, patience=patience)

    def check(self, config: ChipConfig) -> None:
        """Weights and constants must fit their blocks of single-port RAM."""
        check_capacity(config)
        if constants_end(config) > BLOCK:
            raise SetunError(
                "constants",
                f"must fit {BLOCK} numbers of 16 bits, gates included",
                constants_end(config),
                "choose a smaller model",
            )

    def contents(self, config: ChipConfig, layout: MemoryLayout) -> dict[str, Contents]:
        """All four memories; single-port RAM of an FPGA starts with anything all the same."""
        found = contents(config, layout)
        return {f"{name}.words": held for name, held in found.items()}

    def rams(self, config: ChipConfig) -> dict[str, list[Ram]]:
        """What changes, the program, the codes, tables; the model lies in single-port RAM."""
        elements = first_state(config) + config.state_elements
        return {
            "vectors and state": [Ram(elements, config.vector.width)],
            "program": [Ram(WORDS * config.instructions, 32)],
            "codes": [Ram(config.max_columns, 8)],
            "tables and link": FIXED_BLOCKS,
        }
