"""A controller on a clock of its own: words cross whole and in order, however the clocks drift."""

import random
from typing import Any

import pytest
from amaranth.hdl import DomainRenamer, Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from hw.memory.controllers.sdram_harness import POWER_UP_US
from setun.hw.array.rows import FAST
from setun.hw.memory.controllers.geared import GearedController
from setun.hw.memory.controllers.sdram import SdramController
from setun.hw.memory.controllers.sdram_timing import IS42S16160
from setun.sim.memories.sdram import SdramModel

CLOCK_HZ, GEAR = 108e6, 2
DEPTH = 1 << 10  # beats of the part that are written
STALLS = (0.0, 0.5)
# Periods of both clocks in ns: exactly two, a little more and less, and much more.
CLOCKS = [(18.52, 9.26), (18.61, 9.26), (18.4, 9.26), (29.7, 9.26)]


class System(wiring.Component):
    """The controller and the model of its part; `controller` has the members to play with."""

    def __init__(self) -> None:
        inner = SdramController(IS42S16160, CLOCK_HZ, power_up_us=POWER_UP_US)
        self.controller = GearedController(inner, GEAR)
        self.model = SdramModel(IS42S16160, CLOCK_HZ, depth=DEPTH, power_up_us=POWER_UP_US)
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.controller = self.controller
        m.submodules.model = DomainRenamer(FAST)(self.model)
        wiring.connect(m, self.controller.pins, self.model.pins)
        return m


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("seed", range(len(CLOCKS)))
def test_words_cross_in_order(seed: int, stall: float) -> None:
    system, dice, (slow, fast) = System(), random.Random(seed), CLOCKS[seed]
    top = system.controller
    held = [0] * (DEPTH // GEAR)  # words of 32 bits, as `sync` sees them
    expected: list[int] = []
    got: list[int] = []
    answers: list[int] = []

    async def tick(ctx: Any, *values: Any) -> tuple[int, ...]:
        _, _, *sampled = await ctx.tick().sample(*values)
        return tuple(sampled)

    async def until(ctx: Any, ready: Any) -> None:
        while not (await tick(ctx, ready))[0]:
            pass

    async def play(ctx: Any) -> None:
        await until(ctx, top.ready)
        for _ in range(60):
            choice, address = dice.random(), dice.randrange(len(held) - 1)
            if choice < 0.5:
                # Bursts in a row, none across a page.
                for _ in range(dice.randrange(1, 4)):
                    beats = dice.choice((1, 2, 7, 32))
                    beats = min(beats, len(held) - address, top.burst - address % top.burst)
                    ctx.set(top.read.payload.address, address)
                    ctx.set(top.read.payload.beats, beats)
                    ctx.set(top.read.valid, 1)
                    expected.extend(held[address : address + beats])
                    await until(ctx, top.read.ready)
                    ctx.set(top.read.valid, 0)
            else:
                write, word = choice < 0.85, dice.getrandbits(32)
                ctx.set(top.bus_req.payload.write, write)
                ctx.set(top.bus_req.payload.address, address)
                ctx.set(top.bus_req.payload.data, word)
                ctx.set(top.bus_req.valid, 1)
                await until(ctx, top.bus_req.ready)
                ctx.set(top.bus_req.valid, 0)
                if write:
                    held[address] = word
                    continue
                ctx.set(top.bus_rsp.ready, 1)
                while True:
                    valid, answer = await tick(ctx, top.bus_rsp.valid, top.bus_rsp.payload)
                    if valid:
                        break
                ctx.set(top.bus_rsp.ready, 0)
                assert answer == held[address]
                answers.append(answer)
        while len(got) < len(expected):
            await ctx.tick()
        assert got == expected and len(got) > 200 and len(answers) > 3
        assert ctx.get(system.model.violation.code) == 0

    async def take(ctx: Any) -> None:
        while True:
            ready = dice.random() >= stall
            ctx.set(top.o.ready, ready)
            valid, word = await tick(ctx, top.o.valid, top.o.payload)
            if valid and ready:
                got.append(word)

    simulator = Simulator(system)
    simulator.add_clock(slow * 1e-9, phase=3.1e-9)
    simulator.add_clock(fast * 1e-9, phase=0.7e-9, domain=FAST)
    simulator.add_testbench(play)
    simulator.add_testbench(take, background=True)
    simulator.run()


def test_a_word_a_cycle() -> None:
    """Twice the clock gives the part's whole bandwidth, refreshes aside."""
    system = System()
    top, cycles, requests = system.controller, [0], 24

    async def ask(ctx: Any) -> None:
        for k in range(requests):
            ctx.set(top.read.payload.address, k % 16 * 32)
            ctx.set(top.read.payload.beats, 32)
            ctx.set(top.read.valid, 1)
            await ctx.tick().until(top.read.ready)

    async def take(ctx: Any) -> None:
        ctx.set(top.o.ready, 1)
        await ctx.tick().until(top.o.valid)
        words = 1
        while words < requests * 32:
            words += (await ctx.tick().sample(top.o.valid))[-1]
            cycles[0] += 1

    simulator = Simulator(system)
    simulator.add_clock(2 / CLOCK_HZ)
    simulator.add_clock(1 / CLOCK_HZ, domain=FAST)
    simulator.add_testbench(ask)
    simulator.add_testbench(take)
    simulator.run()
    share = (requests * 32 - 1) / cycles[0]
    print(f"{share:.4f} words a cycle")
    assert share > 0.95
