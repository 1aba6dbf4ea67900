"""What a small chip comes to: its core is one netlist, its cycles those of the microprogram."""

from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image
from setun.firmware.program.isa import Kernel, MeanSquare, Op
from setun.hw.emit.resources import block_ram
from setun.hw.fpga.family import Family

# Placed cells of `setun build --board icebreaker`: only block RAM depends on the model.
CELLS = {"luts": 4_993, "multipliers": 8, "single_port_ram": 4, "plls": 1}
FETCH = 8  # cycles of an instruction around its words
GROUP = 5  # around the columns of a row group
ROW = {
    Kernel.COPY: 6,
    Kernel.SILU: 15,
    Kernel.MLGRU: 33,
    Kernel.GLU: 14,
    Kernel.ADD: 10,
    Kernel.SAMPLE: 15,
}
MATVEC, GLU_END = 10, 13  # around its groups, and behind a gated one's
PASSES = 4  # over a vector, with a product
PRODUCT, QUANTISE = 3, 60


def cycles_per_token(image: Image, config: ChipConfig) -> float:
    """Cycles from a token to the next one; within 2 % of the gateware's."""
    total, columns = 0, 0
    for i in image.program:
        total += FETCH
        if i.op is Op.EMBED:
            total += i.n + image.vocab_size // 2
        elif i.op is Op.QUANTISE:
            columns = i.n
            total += QUANTISE + PASSES * PRODUCT * i.n
            total += 2 * i.n * (i.mean_square is MeanSquare.OWN)
        elif i.op is Op.MATVEC:
            total += MATVEC + -(-i.n // config.rows) * (columns + GROUP) + i.n * ROW[i.kernel]
            total += GLU_END * (i.kernel is Kernel.GLU)
    return float(total)


class SmallEstimate:
    """See `setun.estimate.cores.CoreEstimate`."""

    searched = False

    def cells(self, config: ChipConfig, kind: Family) -> dict[str, int]:
        """Those of the one build, but for block RAM."""
        return {"block_ram": sum(block_ram(config, kind).values()), **CELLS}

    def cycles(self, image: Image, config: ChipConfig) -> dict[int, float]:
        """One stream."""
        return {1: cycles_per_token(image, config)}
