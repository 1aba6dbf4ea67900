"""Units of the small core alone: its queue of prompt tokens, its slow clock, its deadline."""

import random
from typing import Any

import pytest
from amaranth.hdl import Elaboratable
from amaranth.sim import Simulator

from setun.hw.control.prompts import PROMPT_DEPTH
from setun.hw.small.generation import PromptQueue
from setun.hw.small.pulse import Deadline, Pulse


def run(unit: Elaboratable, bench: Any) -> None:
    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_queue_keeps_order_and_tells_its_room(seed: int) -> None:
    queue, rng = PromptQueue(), random.Random(seed)
    print(f"seed {seed}")
    seen = {"full": 0, "popped": 0, "cleared": 0}

    async def bench(ctx: Any) -> None:
        held: list[int] = []
        rate = 0.5
        late = 0  # cycles in which a token waits and cannot be read
        for cycle in range(6000):
            if cycle % 500 == 0:
                rate = rng.choice((0.1, 0.5, 0.9))
            assert ctx.get(queue.space) == PROMPT_DEPTH - len(held)
            assert ctx.get(queue.waiting) == bool(held)
            seen["full"] += len(held) == PROMPT_DEPTH
            readable = ctx.get(queue.readable)
            assert not readable or ctx.get(queue.first) == held[0]
            late = late + 1 if held and not readable else 0
            assert late <= 1
            pop = bool(readable and rng.random() > rate)
            push = len(held) < PROMPT_DEPTH and rng.random() < rate
            clear = rng.random() < 0.001
            token = rng.randrange(1 << 16)
            ctx.set(queue.pop, pop)
            ctx.set(queue.i.valid, push)
            ctx.set(queue.i.payload, token)
            ctx.set(queue.clear, clear)
            assert ctx.get(queue.i.ready)
            await ctx.tick()
            seen["popped"] += pop
            seen["cleared"] += clear
            held = [] if clear else held[pop:] + [token] * push

    run(queue, bench)
    assert all(seen.values()), seen


def test_strobes() -> None:
    pulse = Pulse(9, (3, 6))
    at: list[list[int]] = [[], []]

    async def bench(ctx: Any) -> None:
        for cycle in range(1 << 10):
            strobes = ctx.get(pulse.strobes)
            for k in range(2):
                if strobes >> k & 1:
                    at[k].append(cycle)
            await ctx.tick()

    run(pulse, bench)
    for k, exponent in enumerate(pulse.exponents):
        assert at[k][0] == 1 << exponent
        assert {b - a for a, b in zip(at[k], at[k][1:], strict=False)} == {1 << exponent}


def test_deadline_is_one_to_two_periods_away() -> None:
    """For every moment within a period at which something begins, and every length."""
    period = 8
    for begin in range(period):
        for length in range(1, 2 * period + 2):
            deadline, late = Deadline(), []

            async def bench(
                ctx: Any,
                begin: int = begin,
                length: int = length,
                deadline: Deadline = deadline,
                late: list[int] = late,
            ) -> None:
                for cycle in range(4 * period):
                    ctx.set(deadline.strobe, cycle % period == period - 1)
                    ctx.set(deadline.busy, begin <= cycle < begin + length)
                    if ctx.get(deadline.late):
                        late.append(cycle - begin)
                    await ctx.tick()

            run(deadline, bench)
            assert not late or period <= late[0] < 2 * period
            assert bool(late) == (begin + length >= 2 * period)
