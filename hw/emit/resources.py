"""Block RAM a chip needs, before any tool runs."""

from collections.abc import Mapping

from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.memory_layout import Space
from setun.firmware.program.isa import WORDS
from setun.hw.memory.external import queue_ram
from setun.hw.memory.spaces import shapes, slot_depth
from setun.hw.memory.store import blocks, segments
from setun.hw.vector.products import products_shape

SMALL_BLOCK = 256  # words of 16 bits in an iCE40's
SMALL_FIXED_BLOCKS = 22  # tables, microprogram, link of a small chip
FIXED_BLOCKS = 5  # tables of roots and noise; the link's buffers


def block_ram(config: ChipConfig) -> dict[str, int]:
    """Blocks by what they hold: DP16KD, or ICESTORM_RAM of a small chip."""
    if config.small:
        return {
            "vectors and state": -(-(config.first_state + config.state_elements) // SMALL_BLOCK),
            "program": 2 * -(-WORDS * config.instructions // SMALL_BLOCK),
            "codes": -(-config.max_columns // (2 * SMALL_BLOCK)),
            "tables and link": SMALL_FIXED_BLOCKS,
        }
    found = {}
    for space, shape in shapes(config).items():
        if space is Space.WEIGHTS and config.external:
            continue
        count = sum(blocks(d, shape.width) for d in segments(shape.depth, shape.width))
        copies = 2 if space is Space.VECTOR else 1
        found[space.name.lower()] = copies * count
    found["slots"] = blocks(slot_depth(config), 8 * config.columns)
    if config.external:
        found["queue"] = blocks(*queue_ram(config))
    found["products"] = blocks(*products_shape(config))
    found["sigmoid"] = config.lanes
    reciprocals = not (config.numerics.fp8 or config.numerics.lmul)
    found["tables and link"] = FIXED_BLOCKS + reciprocals
    return found


def block_kind(config: ChipConfig) -> str:
    """What `block_ram` counts, in nextpnr's names."""
    return "ICESTORM_RAM" if config.small else "DP16KD"


def check_capacity(config: ChipConfig, capacity: Mapping[str, int], board: str) -> None:
    """Refuse a chip whose memories the FPGA cannot hold: needed against available."""
    needed = block_ram(config)
    kind = block_kind(config)
    total, available = sum(needed.values()), capacity.get(kind, 0)
    if total > available:
        largest = ", ".join(f"{name} {n}" for name, n in needed.items() if n)
        raise SetunError(
            f"model on {board}",
            f"needs {total} {kind} of {available}",
            largest,
            "choose a smaller model, or --set packing=1.6b",
        )
