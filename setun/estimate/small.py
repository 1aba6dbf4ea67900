"""What a small chip comes to: its core is one netlist, its cycles those of the microprogram."""

from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image
from setun.firmware.numerics.arithmetic import MeanSquare
from setun.firmware.program import machine
from setun.firmware.program.machine import Step
from setun.hw.emit.resources import block_ram
from setun.hw.fpga.family import Family
from setun.hw.small.microcode import row_words

# Placed cells of `setun build --board icebreaker`: only block RAM depends on the model.
CELLS = {"luts": 5_052, "multipliers": 8, "single_port_ram": 4, "plls": 1}
FETCH = 8  # cycles of an instruction around its words
GROUP = 5  # around the columns of a row group
MATVEC = 9  # before its first group
PASSES = 4  # over a vector, with a product
PRODUCT, QUANTISE = 3, 60


class _Cycles(machine.Visitor):
    """Adds up the words of the microprogram that a token takes."""

    def __init__(self, image: Image, config: ChipConfig) -> None:
        self.image, self.config = image, config
        self.total = 0
        self.columns = 0  # of the vector that was quantised

    def model(self, step: Step) -> None:
        self.total += FETCH

    scalars = end = model
    rotate = cache = attend = norm = machine.refused

    def embed(self, step: Step) -> None:
        self.total += FETCH + step.do.n + self.image.vocab_size // 2

    def quantise(self, step: Step) -> None:
        n = self.columns = step.do.n
        self.total += FETCH + QUANTISE + PASSES * PRODUCT * n
        self.total += 2 * n * (step.do.mean_square is MeanSquare.OWN)

    def matvec(self, step: Step) -> None:
        n, groups = step.do.n, -(-step.do.n // self.config.rows)
        row, behind = row_words(step.do.kernel)
        self.total += FETCH + MATVEC + groups * (self.columns + GROUP) + n * row + behind


def cycles_per_token(image: Image, config: ChipConfig) -> float:
    """Cycles from a token to the next one; within 2 % of the gateware's."""
    cycles = _Cycles(image, config)
    machine.walk(cycles, machine.steps(image))
    return float(cycles.total)


class SmallEstimate:
    """See `setun.estimate.cores.CoreEstimate`."""

    searched = False

    def cells(self, config: ChipConfig, kind: Family) -> dict[str, int]:
        """Those of the one build, but for block RAM."""
        return {"block_ram": sum(block_ram(config, kind).values()), **CELLS}

    def anywhere(self, config: ChipConfig) -> None:
        """Nothing to tell: the core has one family's cells."""

    def cycles(self, image: Image, config: ChipConfig, position: int) -> dict[int, float]:
        """One stream, which attends to nothing."""
        return {1: cycles_per_token(image, config)}
