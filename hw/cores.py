"""Gateware of each core that a chip may have: one list."""

from typing import Any, Protocol

from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import MemoryLayout
from setun.hw.link.signature import Ties
from setun.hw.memory.blocks import Ram
from setun.hw.memory.contents import Contents
from setun.hw.parallel import ParallelGateware
from setun.hw.small.gateware import SmallGateware
from setun.hw.technology import Technology


class CoreGateware(Protocol):
    """What chip, flow and estimate ask of a core's gateware."""

    counters: tuple[str, ...]
    """Names of its event counters."""

    def ties(self, config: ChipConfig) -> Ties:
        """How it is tied to the link."""

    def component(
        self,
        config: ChipConfig,
        layout: MemoryLayout | None,
        technology: Technology,
        *,
        round_trip: int,
        patience: int | None,
    ) -> Any:
        """The core; members `core_members` of its ties, flipped, `memory` if external; `beats`."""

    def check(self, config: ChipConfig) -> None:
        """Refuse a model that the core's own memories do not hold: SetunError."""

    def contents(self, config: ChipConfig, layout: MemoryLayout) -> dict[str, Contents]:
        """What its memories hold once a model is loaded, by name below the core."""

    def rams(self, config: ChipConfig) -> dict[str, list[Ram]]:
        """Memories that become block RAM, by what they hold."""


CORES: dict[str, CoreGateware] = {"parallel": ParallelGateware(), "small": SmallGateware()}


def core_gateware(config: ChipConfig) -> CoreGateware:
    """The gateware of a chip's core."""
    return CORES[config.core.name]
