"""What each unit of the chip costs alone: LUTs, registers, block RAM, multipliers, Fmax."""

from collections.abc import Callable, Iterator
from typing import Any

from setun.firmware import identity
from setun.firmware.config import ChipConfig
from setun.hw.array import TernaryArray
from setun.hw.build import unit_report
from setun.hw.generation import COUNTERS, Generation
from setun.hw.kernel import KernelLane
from setun.hw.link.link import Link
from setun.hw.quantiser import Quantiser
from setun.hw.sampler import Sampler
from setun.hw.scale import ScaleUnit
from setun.hw.sequencer import Sequencer
from setun.hw.sink import Sink
from setun.hw.weights import lead


def units(config: ChipConfig) -> dict[str, Callable[[], Any]]:
    """Factories of the units of a chip, by name; parts of a unit follow it."""
    return {
        "array": lambda: TernaryArray(config, "ecp5", lead=lead(config)),
        "quantiser": lambda: Quantiser(config, early=max(lead(config) - 1, 0)),
        "scale": lambda: ScaleUnit(config.numerics),
        "sink": lambda: Sink(config),
        "kernel": lambda: KernelLane(config.numerics),
        "sampler": lambda: Sampler(config),
        "sequencer": lambda: Sequencer(config),
        "generation": lambda: Generation(config),
        "link": lambda: Link(
            identity.encode(config),
            config.divisor,
            len(COUNTERS),
            config.contexts,
            terminal=bool(config.terminal),
        ),
    }


def unit_costs(
    config: ChipConfig, progress: Callable[[str], None] = lambda stage: None
) -> Iterator[dict[str, Any]]:
    """One report per unit: synthesis, placement and routing of it alone on an ECP5-85F."""
    for name, factory in units(config).items():
        progress(f"place {name}")
        yield unit_report(factory, name, clock_mhz=config.clock_hz / 1e6)
