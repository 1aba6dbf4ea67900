"""Cells and cycles of each core: one list."""

from typing import Protocol

from setun.estimate.parallel import ParallelEstimate
from setun.estimate.small import SmallEstimate
from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image
from setun.hw.fpga.family import Family


class CoreEstimate(Protocol):
    """What an estimate asks of a core."""

    searched: bool
    """Whether its options leave a choice of chips, whose cells are a guess."""

    def cells(self, config: ChipConfig, kind: Family) -> dict[str, int]:
        """Cells of the chip on a family's FPGA, by neutral name."""

    def anywhere(self, config: ChipConfig) -> dict[str, int] | None:
        """What it takes of any FPGA; see `setun.estimate.chip.Estimate`."""

    def cycles(self, image: Image, config: ChipConfig, position: int) -> dict[int, float]:
        """Cycles per token, by streams: one, and as many as the chip has contexts; of the token
        behind `position` others, where attention asks for it."""


CORES: dict[str, CoreEstimate] = {"parallel": ParallelEstimate(), "small": SmallEstimate()}


def core_estimate(config: ChipConfig) -> CoreEstimate:
    """The estimate of a chip's core."""
    return CORES[config.core.name]
