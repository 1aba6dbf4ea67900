"""Cocotb bench of generation's part in the watchdog: passes that are given up."""

from typing import Any

import cocotb
from cocotb.queue import Queue

from bench import context
from hw.control.bench_control import begin
from hw.control.world import World
from setun.firmware.link.messages import Reason
from setun.hw.control.prompts import PROMPT_DEPTH
from setun.hw.control.watchdog import RESTART


async def give_up(world: World) -> None:
    """What the watchdog does; the bench's units forget with the chip's."""
    await world.until(lambda: bool(world.dut.passing.value))
    for _ in range(world.random.randrange(60)):
        await world.edge
    assert world.dut.passing.value
    world.dut.hung.value = 1
    stores = world.tasks[4]
    stores.cancel()
    world.dut.stored.value = world.dut.sampled.value = 0
    world.outstanding, world.flying = Queue(), 0
    world.tasks[4] = cocotb.start_soon(world._stores())
    for _ in range(RESTART):
        await world.edge
        world.quantise._offered = world.embed._offered = None  # an offer may be taken back now
    world.dut.hung.value = 0
    world.hold = False


@cocotb.test()
async def hangs(dut: Any) -> None:
    """All generations end with the watchdog's reason, nothing queued is left, and all works on."""
    await context.start(dut)
    dut.hung.value = 0
    world = begin(dut)
    contexts, rng = world.config.contexts, context.generator("hangs")
    for number in range(12):
        generating = rng.sample(range(contexts), rng.randrange(contexts + 1))
        begun = number % 2 == 1  # hangs while a prompt is fed, or later in a generation
        world.hold = not begun
        for where in range(contexts):
            length = 1 if begun else rng.randrange(2, 40)
            await world.prompt([1] * length, where)
            if where in generating:
                await world.ask(60_000, where)
        if begun and generating:
            tokens = len(world.seen.emitted)
            await world.until(lambda t=tokens: len(world.seen.emitted) > t + 2)
        world.hold = True
        if not begun or generating:
            await give_up(world)
        world.hold = False
        for where in generating:
            assert (await world.finish(where))["reason"] == Reason.WATCHDOG, number
        await world.quiet()
        for where in range(contexts):
            assert await world.look("prompt_space", where) == PROMPT_DEPTH
        where = rng.randrange(contexts)
        if not begun or generating:
            await world.ask(2, where)
            assert (await world.finish(where))["reason"] == Reason.NO_PROMPT
        before = len(world.seen.emitted)
        await world.prompt([5, 6], where)
        await world.ask(3, where)
        done = await world.finish(where)
        assert (done["reason"], done["tokens"]) == (Reason.COUNT, 3), number
        assert world.seen.emitted[before:] == world.seen.sampled[-3:]
        await world.quiet()
        assert world.seen.passes[-1].contexts == [where]
