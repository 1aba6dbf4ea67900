"""The LED: slow at rest, fast at work and for a while after."""

from typing import Any

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from setun.hw.fpga.heartbeat import FASTER, Heartbeat


@pytest.mark.parametrize("shared", [False, True])
def test_beats(shared: bool) -> None:
    counter = Signal(12) if shared else None
    heart = Heartbeat(1000.0, counter)  # a blink in 1,024 cycles
    at_speed = Heartbeat(56.25e6)
    assert heart.bits == 10 and at_speed.bits == 26
    blink = 1 << heart.bits
    edges: list[int] = []

    async def bench(ctx: Any) -> None:
        for phase in range(8):
            count, before = 0, ctx.get(heart.led)
            for cycle in range(blink):
                # One cycle of work in the fourth blink.
                ctx.set(heart.working, phase == 3 and cycle == 100)
                await ctx.tick()
                count += ctx.get(heart.led) != before
                before = ctx.get(heart.led)
            edges.append(count)

    m = Module()
    m.submodules.heart, m.submodules.at_speed = heart, at_speed
    if counter is not None:
        m.d.sync += counter.eq(counter + 1)
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert set(edges[1:3]) == set(edges[6:]) == {2}, edges
    assert (1 << FASTER) <= max(edges[3:5]) <= 2 << FASTER, edges
