"""The model of a memory behind AXI4 answers when it says that it does."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from setun.sim.memories import axi4
from setun.sim.memories.axi4 import Axi4Memory

DEPTH, BITS, BURST = 1024, 64, 8


class Store(wiring.Component):
    """A word is its address; in place of the one that is Verilog."""

    read_address: In(range(DEPTH))
    read_data: Out(BITS)
    write_enable: In(BITS // 8)
    write_address: In(range(DEPTH))
    write_data: In(BITS)

    def __init__(self, width: int, depth: int) -> None:
        assert (width, depth) == (BITS, DEPTH)
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.read_data.eq(self.read_address)
        return m


@pytest.mark.parametrize("latency", [4, 5, 50, 200])
def test_first_beats_come_after_the_latency(latency: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two bursts asked for at once: the second follows the first without a gap."""
    monkeypatch.setattr(axi4, "BulkStore", Store)
    dut = Axi4Memory(BITS, DEPTH, latency=latency)
    came: list[tuple[int, int]] = []

    async def ask(ctx) -> None:  # type: ignore[no-untyped-def]
        axi = dut.axi
        ctx.set(axi.rready, 1)
        ctx.set(axi.arlen, BURST - 1)
        for cycle in range(latency + 3 * BURST):
            ctx.set(axi.arvalid, cycle < 2)
            ctx.set(axi.araddr, cycle * BURST * BITS // 8)
            if ctx.get(axi.rvalid):
                came.append((cycle, ctx.get(axi.rdata)))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(ask)
    simulator.run()
    assert came == [(latency + k, k) for k in range(2 * BURST)]
