"""What a chip with the core of parallel units comes to."""

from functools import cache

import numpy as np

from setun.estimate.cells import KINDS, data, unit_cells
from setun.estimate.cycles import cycles_per_token
from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image
from setun.hw.cores import core_gateware
from setun.hw.emit.resources import block_ram
from setun.hw.fpga.family import Family
from setun.hw.fpga.flow.unit import FAMILY


@cache
def joining() -> dict[str, float]:
    """What a placed chip takes over its units' netlists, by kind: the mean of the builds.

    Packing adds constants and ends of carry chains; the core adds counters and queues of commands.
    """
    rows = [(unit_cells(ChipConfig.from_dict(row["config"])), row) for row in data("builds.json")]
    return {
        kind: float(
            np.mean(
                [
                    row["utilisation"][kind][0] / sum(unit[kind] for unit in units.values())
                    for units, row in rows
                ]
            )
        )
        for kind in KINDS
    }


def logic(config: ChipConfig) -> dict[str, int]:
    """Cells of the chip but its block RAM, as on an ECP5."""
    units = unit_cells(config).values()
    return {
        kind: round(share * sum(unit[kind] for unit in units)) for kind, share in joining().items()
    }


class ParallelEstimate:
    """See `setun.estimate.cores.CoreEstimate`."""

    searched = True

    def cells(self, config: ChipConfig, kind: Family) -> dict[str, int]:
        """Block RAM counted, the rest a sum of terms."""
        return {"block_ram": sum(block_ram(config, kind).values()), **logic(config)}

    def anywhere(self, config: ChipConfig) -> dict[str, int]:
        """Bits of all memories; those in blocks and the rest as on an ECP5."""
        rams = core_gateware(config).rams(config).values()
        bits = sum(ram.depth * ram.width for parts in rams for ram in parts)
        blocks = sum(block_ram(config, FAMILY).values())
        return {"ram_bits": bits, "block_ram": blocks, **logic(config)}

    def cycles(self, image: Image, config: ChipConfig, position: int) -> dict[int, float]:
        """The program run through a schedule of the units."""
        streams = sorted({1, config.contexts})
        return {n: cycles_per_token(image, config, n, position) for n in streams}
