"""Block RAM a chip needs, before any tool runs."""

from collections.abc import Mapping

from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.hw.cores import core_gateware
from setun.hw.fpga.family import Family


def block_ram(config: ChipConfig, kind: Family) -> dict[str, int]:
    """Blocks that a chip takes of a family's FPGA, by what they hold."""
    rams = core_gateware(config).rams(config)
    return {
        what: sum(ram.blocks(kind.block_shapes) for ram in parts) for what, parts in rams.items()
    }


def check_block_ram(
    config: ChipConfig, kind: Family, capacity: Mapping[str, int], board: str
) -> None:
    """Refuse a chip whose memories the FPGA cannot hold: needed against available."""
    needed = block_ram(config, kind)
    total, available = sum(needed.values()), capacity.get("block_ram", 0)
    if total > available:
        largest = ", ".join(f"{name} {n}" for name, n in needed.items() if n)
        raise SetunError(
            f"model on {board}",
            f"needs {total} of {available} blocks of RAM",
            largest,
            "choose a smaller model, or --set packing=1.6b",
        )
