"""The core of parallel units, as chip, flow and estimate ask for it."""

from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import MemoryLayout, Space
from setun.hw.control.generation import COUNTERS
from setun.hw.core import Core, ties
from setun.hw.link.signature import Ties
from setun.hw.memory.blocks import Ram, segments
from setun.hw.memory.contents import Contents, filled
from setun.hw.memory.external import check_capacity, gain_store, gate_store, queue_ram
from setun.hw.memory.kinds import memory_gateware
from setun.hw.memory.spaces import shapes, slot_depth
from setun.hw.technology import Technology
from setun.hw.vector.products import products_shape

BLOCK = Ram(512, 36)  # what fits into a block of an ECP5 and is counted as one
FIXED_BLOCKS = 5  # tables of roots and noise; the link's buffers


class ParallelGateware:
    """Gateware of `setun.hw.core.Core`; see `setun.hw.cores.CoreGateware`."""

    counters: tuple[str, ...] = COUNTERS

    def ties(self, config: ChipConfig) -> Ties:
        """Counters, contexts, and a memory for text alone."""
        return ties(config)

    def component(
        self,
        config: ChipConfig,
        layout: MemoryLayout | None,
        technology: Technology,
        *,
        round_trip: int,
        patience: int | None,
    ) -> Core:
        """The core."""
        return Core(config, layout, technology, round_trip=round_trip, patience=patience)

    def check(self, config: ChipConfig) -> None:
        """Weights in an external memory must fit it."""
        check_capacity(config)

    def contents(self, config: ChipConfig, layout: MemoryLayout) -> dict[str, Contents]:
        """The stores, segment by segment, and what is inside of the memory's controller."""
        found = {}
        for space, shape in shapes(config).items():
            if space not in layout.spaces:
                continue
            name = space.name.lower()
            words = shape.words(layout.spaces[space])
            start = 0
            for k, depth in enumerate(segments(shape.depth, shape.width)):
                part = words[start : start + depth]
                found[f"memories.{name}.{name}{k}"] = filled(shape.width, depth, part)
                start += depth
        inside = memory_gateware(config).contents(config, layout)
        return found | {f"outside.reader.controller.{name}": held for name, held in inside.items()}

    def rams(self, config: ChipConfig) -> dict[str, list[Ram]]:
        """The stores, segment by segment, queues, slots and tables."""
        found = {}
        for space, shape in shapes(config).items():
            parts = [Ram(depth, shape.width) for depth in segments(shape.depth, shape.width)]
            found[space.name.lower()] = (2 if space is Space.VECTOR else 1) * parts
        found["slots"] = [Ram(slot_depth(config), 8 * config.columns)]
        if config.streams:
            found["queue"] = [Ram(*queue_ram(config))]
            for name, store in (("gains", gain_store(config)), ("gates", gate_store(config))):
                found[name] = [Ram(*shape) for shape in store.rams]
        if Space.CACHE in shapes(config):
            found["exponents"] = [Ram(config.cache_depth, config.vector.exponent)]
        found["products"] = [Ram(*products_shape(config))]
        found["sigmoid"] = config.lanes * [BLOCK]
        reciprocals = not (config.numerics.fp8 or config.numerics.lmul)
        roots = config.head_norms if config.attention else 0
        found["tables and link"] = (FIXED_BLOCKS + reciprocals + roots + config.mailbox) * [BLOCK]
        return found
