"""Cocotb benches of sequencer and generation: several conversations at once."""

from collections.abc import Sequence
from typing import Any

import cocotb
from cocotb.triggers import ReadOnly

from bench import context
from hw.control.bench_control import begin, check_run, renew
from hw.control.world import World
from setun.firmware.link.messages import Reason
from setun.hw.control.prompts import PROMPT_DEPTH


def seats(left: Sequence[int], count: int) -> list[int]:
    """Contexts of a pass's seats, while so many tokens are left of each context's prompt."""
    rounds = [where for turn in range(max(left)) for where, have in enumerate(left) if have > turn]
    return rounds[:count]


@cocotb.test()
async def queues(dut: Any) -> None:
    """Each context's queue tells its room and keeps order; seats go round the contexts."""
    await context.start(dut)
    world = begin(dut)
    contexts, rng = world.config.contexts, context.generator("queues")
    world.hold = True
    prompts: dict[int, list[int]] = {}
    first = rng.randrange(contexts)
    for where in sorted(range(contexts), key=lambda k: k != first):
        assert await world.look("prompt_space", where) == PROMPT_DEPTH
        # The first pass is held with as many of the first context's tokens as there are seats.
        full = where == first
        count = PROMPT_DEPTH + contexts if full else rng.randrange(PROMPT_DEPTH + 1)
        prompts[where] = [rng.randrange(1 << 16) for _ in range(count)]
        await world.prompt(prompts[where], where)
        room = 0 if full else PROMPT_DEPTH - count
        assert await world.look("prompt_space", where) == room
        assert await world.look("occupied", where) == (count > 0)
        if full:  # what does not fit is not taken
            dut.prompt__valid.value = 1
            for _ in range(5):
                await ReadOnly()
                assert not dut.prompt__ready.value
                await world.edge
            dut.prompt__valid.value = 0
    world.hold = False
    await world.quiet()
    left = [len(prompts[where]) for where in range(contexts)]
    for number, each in enumerate(world.seen.passes):
        expected = [first] * contexts if number == 0 else seats(left, contexts)
        assert each.contexts == expected, f"pass {number}, {left} tokens left"
        for where in each.contexts:
            left[where] -= 1
    check_run(world, prompts)
    for where in range(contexts):
        assert await world.look("prompt_space", where) == PROMPT_DEPTH
        assert not await world.look("occupied", where)


class Conversation:
    """What one context was asked for, and what must have become of it."""

    def __init__(self, world: World, where: int) -> None:
        self.world, self.where = world, where
        self.random = context.generator(f"conversation {where}")
        self.fed: list[int] = []  # in the order in which it is fed
        self.begun = False  # something was fed, or will be, since the last reset
        self.count = 0  # tokens of the generation under way
        self.stopped = False

    async def step(self) -> None:
        """Whatever the link would accept now."""
        rng, world, where = self.random, self.world, self.where
        if self.count:
            if rng.random() < 0.2:
                await world.strobe("stop", where)
                self.stopped = True
            done = sum(each["context"] == where for each in world.seen.dones)
            if done > world.finished[where]:
                await self.check()
            return
        choice = rng.random()
        if choice < 0.4:
            prompt = [rng.randrange(1 << 16) for _ in range(rng.choice((1, 1, 2, 5, 20)))]
            if len(prompt) <= await world.look("prompt_space", where):
                await world.prompt(prompt, where)
                self.fed += prompt
                self.begun = True
        elif choice < 0.8:
            self.count, self.stopped = rng.choice((1, 1, 2, 7)), False
            await world.ask(self.count, where)
        elif not await world.look("occupied", where):
            await world.strobe("reset_state", where)
            self.begun = False

    async def check(self) -> None:
        """The end of the generation under way."""
        done = await self.world.finish(self.where)
        count, what = done["tokens"], f"context {self.where}, {self.count} asked for: {done}"
        tokens = self.world.seen.tokens(self.where)
        self.fed += tokens[len(tokens) - count :]
        if not self.begun:
            assert (done["reason"], count) == (Reason.NO_PROMPT, 0), what
        elif count == self.count:
            assert done["reason"] == Reason.COUNT, what
        else:
            assert self.stopped and count < self.count and done["reason"] == Reason.STOPPED, what
        self.count = 0


@cocotb.test()
async def conversations(dut: Any) -> None:
    """All contexts prompt, generate, stop and reset as they like; none notices the others."""
    await context.start(dut)
    world = begin(dut)
    for turn, wire in enumerate((0.0, 0.9)):
        world = await renew(world, wire=wire)
        rng = context.generator(f"conversations {turn}")
        each = [Conversation(world, where) for where in range(world.config.contexts)]
        for _ in range(400):
            await rng.choice(each).step()
            for _ in range(rng.choice((0, 1, 10, 300))):
                await world.edge
        for conversation in each:
            if conversation.count:
                await conversation.check()
        await world.quiet()
        check_run(world, {conversation.where: conversation.fed for conversation in each})
        assert len(world.seen.dones) > 20
        reasons = {done["reason"] for done in world.seen.dones}
        assert reasons == {Reason.COUNT, Reason.STOPPED, Reason.NO_PROMPT}
        for conversation in each:
            assert not await world.look("occupied", conversation.where)
            assert not await world.look("generating", conversation.where)


@cocotb.test()
async def long_prompt(dut: Any) -> None:
    """A generation goes on token by token while another context takes in a long prompt."""
    await context.start(dut)
    world = begin(dut)
    contexts = world.config.contexts
    if contexts == 1:
        return
    speaker, listener = context.generator("long_prompt").sample(range(contexts), 2)
    count, prompt = 16, list(range(1000, 1100))
    await world.prompt([7], speaker)
    await world.ask(count, speaker)
    await world.until(lambda: len(world.seen.emitted) >= 2)
    start = len(world.seen.passes)
    await world.prompt(prompt, listener)
    await world.ask(2, listener)
    assert (await world.finish(speaker))["reason"] == Reason.COUNT
    assert (await world.finish(listener))["reason"] == Reason.COUNT
    await world.quiet()
    check_run(
        world,
        {
            speaker: [7, *world.seen.tokens(speaker)],
            listener: [*prompt, *world.seen.tokens(listener)],
        },
    )
    fed = spoken = 0
    for each in world.seen.passes[start:]:
        if each.head:
            spoken += speaker in each.contexts
            # The logits wanted are those behind the prompt.
            assert listener not in each.contexts or fed >= len(prompt)
        else:
            assert each.contexts.count(speaker) <= 1
            if fed and fed + contexts <= len(prompt):
                assert len(each.seats) == contexts
            fed += each.contexts.count(listener)
            # The prompt waits for nobody's head, and no token for the prompt.
            if fed < len(prompt):
                assert spoken >= (fed - contexts) // contexts or spoken >= count - 2


@cocotb.test()
async def cycles(dut: Any) -> None:
    """Cycles of a generation count from the end of its prompt, and no context's wire waits."""
    await context.start(dut)
    world = begin(dut)
    contexts = world.config.contexts
    where, other = 0, contexts - 1
    found = []
    for prompt, wire in ((1, 0.0), (100, 0.0), (1, 0.95)):
        world = await renew(world, wire=wire)
        world.random.seed(1)
        if other != where:  # speaks all the time
            await world.prompt([5], other)
            await world.ask(60_000, other)
        await world.prompt([3] * prompt, where)
        await world.ask(12, where)
        done = await world.finish(where)
        assert (done["reason"], done["tokens"]) == (Reason.COUNT, 12)
        found.append(done["cycles"])
        if other != where:
            await world.strobe("stop", other)
            assert (await world.finish(other))["reason"] == Reason.STOPPED
    # The units' pace is random: about the same, where prompt or wire would double the first.
    for each in found[1:]:
        assert abs(each - found[0]) < 0.25 * found[0], found


@cocotb.test()
async def faults_of_all(dut: Any) -> None:
    """A broken program ends every context's generation, whatever is reset meanwhile."""
    await context.start(dut)
    world = begin(dut)
    contexts = world.config.contexts
    for part in ("body", "head"):
        # Ends wait for the wire, so that the resets come before they have been taken.
        world = await renew(world, wire=0.98)
        world.program[3 if part == "body" else len(world.program) - 2] = 0
        talking = list(range(contexts))
        quiet = talking.pop() if contexts > 1 else None
        for where in talking:
            await world.prompt([where], where)
            await world.ask(3, where)
        await world.until(lambda: bool(dut.done__valid.value))
        for _ in range(4 if quiet is not None else 0):
            await world.strobe("reset_state", quiet)
            await world.edge
        for where in talking:
            done = await world.finish(where)
            assert (done["reason"], done["tokens"]) == (Reason.FAULT, 0), (part, where, done)
        await world.quiet()
        # What was fed in vain is forgotten by a reset of its own context only.
        for where in range(contexts):
            await world.prompt([1], where)
            await world.quiet()
            await world.strobe("reset_state", (where + 1) % contexts)
            await world.ask(1, where)
            done = await world.finish(where)
            expected = (Reason.FAULT if contexts > 1 else Reason.NO_PROMPT, 0)
            assert (done["reason"], done["tokens"]) == expected, (part, where, done)
