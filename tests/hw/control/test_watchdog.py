"""The watchdog alone, and how long it is patient."""

from typing import Any

import pytest
from amaranth.sim import Simulator

from setun.estimate.cycles import cycles_per_token
from setun.estimate.designs import DESIGNS, design_config
from setun.firmware.config import ChipConfig
from setun.hw.control.watchdog import MARGIN, RESTART, Watchdog, patience
from setun.models.load import load_model


def test_fires_late_and_once() -> None:
    """Passes of up to the limit pass; one longer is cut, the units held for some cycles."""
    dog = Watchdog(6)
    seen: list[tuple[int, int]] = []

    async def bench(ctx: Any) -> None:
        for length in (1, 30, 63, 64, 200):
            hung = first = 0
            for cycle in range(length):
                ctx.set(dog.busy, cycle < 100)
                await ctx.tick()
                if ctx.get(dog.hung):
                    hung, first = hung + 1, first or cycle
            ctx.set(dog.busy, 0)
            for _ in range(2 * RESTART):
                await ctx.tick()
                hung += ctx.get(dog.hung)
            seen.append((hung, first))

    simulator = Simulator(dog)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [(0, 0), (0, 0), (0, 0), (RESTART, 0), (RESTART, 65)]


@pytest.mark.parametrize("name", DESIGNS)
def test_is_patient_with_a_healthy_chip(name: str) -> None:
    """A pass with all seats taken is several times shorter, by the estimate and whatever it is."""
    config = design_config(DESIGNS[name])
    image = load_model("shakespeare")
    cycles = config.contexts * cycles_per_token(image, config, config.contexts)
    assert 1 << patience(config) > MARGIN * cycles


def test_grows_with_the_model() -> None:
    base = ChipConfig(memory="sdram-16", packing="1.6b")
    large = base.override(memory_bytes=1 << 26)
    assert patience(large) > patience(base)
    assert patience(ChipConfig(memory="qspi")) >= 28
