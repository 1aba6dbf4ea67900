"""What each unit of the chip costs alone: LUTs, registers, block RAM, multipliers, Fmax."""

from collections.abc import Callable, Iterator
from typing import Any

from setun.firmware.config import ChipConfig
from setun.firmware.link import identity
from setun.hw.array.array import TernaryArray
from setun.hw.array.weights import lead
from setun.hw.control.generation import Generation
from setun.hw.control.sequencer import Sequencer
from setun.hw.core import ties
from setun.hw.fpga.flow.unit import FAMILY, unit_report
from setun.hw.link.link import Link
from setun.hw.vector.kernel import KernelLane
from setun.hw.vector.quantiser import Quantiser
from setun.hw.vector.sampler import Sampler
from setun.hw.vector.scale import ScaleUnit
from setun.hw.vector.sink import Sink


def units(config: ChipConfig) -> dict[str, Callable[[], Any]]:
    """Factories of the units of a chip, by name; parts of a unit follow it."""
    return {
        "array": lambda: TernaryArray(config, FAMILY.technology, lead=lead(config)),
        "quantiser": lambda: Quantiser(config, early=max(lead(config) - 1, 0)),
        "scale": lambda: ScaleUnit(config.numerics),
        "sink": lambda: Sink(config),
        "kernel": lambda: KernelLane(config.numerics),
        "sampler": lambda: Sampler(config),
        "sequencer": lambda: Sequencer(config),
        "generation": lambda: Generation(config),
        "link": lambda: Link(identity.encode(config), config.divisor, ties(config)),
    }


def unit_costs(
    config: ChipConfig, progress: Callable[[str], None] = lambda stage: None
) -> Iterator[dict[str, Any]]:
    """One report per unit: synthesis, placement and routing of it alone on an ECP5-85F."""
    for name, factory in units(config).items():
        progress(f"place {name}")
        yield unit_report(factory, name, clock_mhz=config.clock_hz / 1e6)
