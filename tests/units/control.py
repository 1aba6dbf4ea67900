"""Cocotb benches of sequencer and generation: the bench plays memory, units and link."""

from collections.abc import Sequence
from typing import Any

import cocotb
from bench import context
from bench.streams import StreamSink

from setun.firmware.config import ChipConfig
from setun.firmware.isa import Instruction, Kernel, MeanSquare, Op
from setun.hw.generation import (
    PROMPT_DEPTH,
    REASON_COUNT,
    REASON_FAULT,
    REASON_NO_PROMPT,
    REASON_STOPPED,
)
from units.world import World

END = Instruction(op=Op.END)
PAIRS = 96  # constant pairs before the embedding rows of `PROGRAM`
# One of everything; addresses are multiples of 8, so every number of lanes up to 8 divides them.
BODY = (
    Instruction(op=Op.MODEL, src=1, dst=2, constants=3, immediate=4),
    Instruction(op=Op.SCALARS, constants=1e-5, immediate=1e-6),
    Instruction(op=Op.EMBED, n=20, dst=64, constants=PAIRS, immediate=32),
    Instruction(op=Op.QUANTISE, n=20, src=64, constants=32, immediate=0.05, sync=True),
    Instruction(op=Op.MATVEC, n=33, dst=128, immediate=0.5, kernel=Kernel.COPY, keep=True),
    Instruction(op=Op.MATVEC, n=33, src=128, dst=192, immediate=0.25, kernel=Kernel.GLU,
                from_state=True, stat_shift=5, feeds=True),
    Instruction(op=Op.QUANTISE, n=33, src=192, constants=64, immediate=0.125,
                mean_square=MeanSquare.ARRAY, stream=True),
    Instruction(op=Op.MATVEC, n=20, src=64, dst=64, immediate=1.5, kernel=Kernel.ADD),
    Instruction(op=Op.QUANTISE, n=20, src=64, immediate=0.05, mean_square=MeanSquare.NONE,
                sync=True),
    Instruction(op=Op.MATVEC, n=8, dst=8, immediate=0.5, kernel=Kernel.MLGRU),
    END,
)  # fmt: skip
HEAD = (
    Instruction(op=Op.QUANTISE, n=20, src=64, immediate=0.05, sync=True),
    Instruction(op=Op.MATVEC, n=257, immediate=0.5, kernel=Kernel.SAMPLE),
    END,
)


def expected(config: ChipConfig, program: Sequence[Instruction], token: int) -> list[Any]:
    """Commands of a piece of program, addresses in memory words."""
    v, fmt = config.lanes, config.vector

    def bits(x: float) -> int:
        return int(fmt.to_bits(x)[0])

    commands: list[Any] = []
    for i in program:
        if i.op is Op.EMBED:
            first = (int(i.constants) + int(i.immediate) * token) // v
            words = {"first": first, "words": -(-i.n // v), "destination": i.dst // v}
            commands.append(("embed", words))
        elif i.op is Op.QUANTISE:
            commands.append(("quantise", {
                "n": i.n, "source": i.src // v, "constants": int(i.constants) // v,
                "mean_square": int(i.mean_square), "stream": int(i.stream),
                "inverse_n": bits(i.immediate),
            }))  # fmt: skip
        elif i.op is Op.MATVEC:
            groups = {"groups": -(-i.n // config.rows), "keep": int(i.keep)}
            commands.append(("array", groups))
            commands.append(("sink", {
                "rows": i.n, "kernel": int(i.kernel), "keep": int(i.keep),
                "from_state": int(i.from_state), "feeds": int(i.feeds),
                "stat_shift": i.stat_shift,
                "source": i.src // v, "destination": i.dst // v, "scale": bits(i.immediate),
            }))  # fmt: skip
    return commands


def check_commands(world: World, want: list[Any], synced: Sequence[bool]) -> None:
    """Commands in order; quantisations that synchronise found no matvec on its way."""
    got = [
        (name, {k: v for k, v in word.items() if k != "flying"})
        for name, word in world.seen.commands
    ]
    for k, (a, b) in enumerate(zip(want, got, strict=False)):
        assert a == b, f"command {k}: expected {a}, got {b}"
    assert len(want) == len(got)
    flying = [word["flying"] for name, word in world.seen.commands if name == "quantise"]
    for k, (sync, count) in enumerate(zip(synced, flying, strict=True)):
        assert not (sync and count), f"quantise {k}: {count} matvecs on their way"


def begin(dut: Any, program: Sequence[Instruction] | None = None) -> World:
    config = ChipConfig.from_dict(context.parameters()["config"])
    for port in ("stop", "reset_state", "loading", "sampled", "sampled_token", "stored",
                 "program_data"):  # fmt: skip
        getattr(dut, port).value = 0
    world = World(dut, config, stall=0.4)
    world.load(program or (*BODY, *HEAD))
    world.start()
    return world


async def renew(world: World) -> World:
    """Start over with the default program and new units."""
    await world.end()
    return begin(world.dut)


def synced(program: Sequence[Instruction]) -> list[bool]:
    return [i.sync for i in program if i.op is Op.QUANTISE]


@cocotb.test()
async def program(dut: Any) -> None:
    """Bodies and heads hand over every field of every instruction, in order."""
    await context.start(dut)
    world = begin(dut)
    c = world.config
    prompt, count = [0, 5, 65535, 1], 3
    assert dut.fresh.value
    await world.prompt.send(prompt)
    await world.ask(count)
    emitted = await world.token.receive(count, limit=50_000)
    done = await world.finish()
    await world.quiet()
    assert emitted == [1, 2, 3]
    assert (done["reason"], done["tokens"]) == (REASON_COUNT, count)
    assert done["cycles"] > 0
    assert dut.greedy.value == 1
    assert int(dut.eps_outer.value) == int(c.vector.to_bits(1e-5)[0])
    assert int(dut.eps_inner.value) == int(c.vector.to_bits(1e-6)[0])
    want, sync = [], []
    for token in prompt:
        want += expected(c, BODY, token)
        sync += synced(BODY)
    for token in emitted:
        want += expected(c, HEAD, 0) + expected(c, BODY, token)
        sync += synced(HEAD) + synced(BODY)
    check_commands(world, want, sync)
    seen = world.seen
    assert (seen.bodies, seen.heads) == (len(prompt) + count, count)
    assert seen.restarts == seen.bodies
    assert seen.samples == [257] * count
    assert not dut.fresh.value
    # A further generation needs no prompt: whatever was emitted has been fed.
    await world.ask(1, greedy=0)
    assert await world.token.receive(1, limit=50_000) == [4]
    assert (await world.finish())["reason"] == REASON_COUNT
    assert (int(dut.greedy.value), int(dut.factor.value)) == (0, 0x155)


@cocotb.test()
async def no_prompt(dut: Any) -> None:
    """Nothing fed since power-on, since a reset, since memory was written: reason 2."""
    await context.start(dut)
    world = begin(dut)
    for cause in (None, "reset_state", "loading"):
        if cause is not None:
            await world.prompt.send([1])
            await world.quiet()
            assert not dut.fresh.value
            await world.strobe(cause)
            await world.edge
        assert dut.fresh.value
        bodies = world.seen.bodies
        await world.ask(5)
        done = await world.finish()
        assert (done["reason"], done["tokens"]) == (REASON_NO_PROMPT, 0), (cause, done)
        await world.quiet()
        assert world.seen.bodies == bodies
        assert world.seen.heads == 0


@cocotb.test()
async def faults(dut: Any) -> None:
    """An unknown operation ends the run with reason 3, until the program is replaced."""
    await context.start(dut)
    world = begin(dut)
    for number, op in enumerate((0, 7, 15)):
        broken = {"body": (0, 3), "head": (len(BODY), len(BODY) + 1)}
        for part, places in broken.items():
            for place in places:
                world = await renew(world)
                world.program[place] = world.program[place] & ~15 | op
                await world.prompt.send([1, 2])
                await world.ask(3)
                done = await world.finish()
                what = f"operation {op} at {place} of the {part}, round {number}: {done}"
                assert (done["reason"], done["tokens"]) == (REASON_FAULT, 0), what
                await world.quiet()
                heads = world.seen.heads
                await world.ask(3)
                assert (await world.finish())["reason"] == REASON_FAULT, what
                assert world.seen.heads == heads, what
                world.load((*BODY, *HEAD))
                await world.strobe("loading")
                await world.prompt.send([1])
                await world.ask(1)
                assert len(await world.token.receive(1, limit=50_000)) == 1
                assert (await world.finish())["reason"] == REASON_COUNT, what


@cocotb.test()
async def stop(dut: Any) -> None:
    """A stop at any time ends the generation; every emitted token has been fed."""
    await context.start(dut)
    world = begin(dut)
    rng = context.generator("stop")
    bodies = 0
    for number in range(25):
        await world.prompt.send([7])
        await world.ask(60_000)
        received: list[int] = []

        async def take(received: list[int] = received) -> None:
            while True:
                received += await world.token.receive(1, limit=1_000_000)

        taker = cocotb.start_soon(take())
        for _ in range(rng.randrange(3 if number % 2 else 1500)):
            await world.edge
        while not dut.generating.value:
            await world.edge
        await world.strobe("stop")
        done = await world.finish()
        taker.cancel()
        dut.token__ready.value = 0
        assert (done["reason"], done["tokens"]) == (REASON_STOPPED, len(received)), number
        await world.quiet()
        bodies += 1 + len(received)
        assert world.seen.bodies == bodies, f"stop {number}: a token was not fed"
    # A stop while nothing runs is forgotten.
    await world.strobe("stop")
    await world.ask(2)
    await world.token.receive(2, limit=50_000)
    assert (await world.finish())["reason"] == REASON_COUNT


@cocotb.test()
async def prompts(dut: Any) -> None:
    """The queue tells its room, keeps order, and takes tokens while others are generated."""
    await context.start(dut)
    world = begin(dut)
    world.hold = True
    assert int(dut.prompt_space.value) == PROMPT_DEPTH
    first = list(range(100, 100 + PROMPT_DEPTH))
    await world.prompt.send(first)
    for _ in range(40):
        await world.edge
    # One of them is being fed.
    assert int(dut.prompt_space.value) == 1
    world.hold = False
    await world.quiet()
    assert int(dut.prompt_space.value) == PROMPT_DEPTH
    await world.ask(2)
    while not dut.generating.value:
        await world.edge
    await world.prompt.send([9, 8])
    tokens = await world.token.receive(2, limit=50_000)
    await world.finish()
    await world.quiet()
    rows = [word["first"] for name, word in world.seen.commands if name == "embed"]
    lanes = world.config.lanes
    assert rows == [(PAIRS + 32 * t) // lanes for t in [*first, *tokens, 9, 8]]


@cocotb.test()
async def outstanding(dut: Any) -> None:
    """At most 15 matvecs are on their way, however long the units' queues are."""
    matvec = Instruction(op=Op.MATVEC, n=8, immediate=0.5)
    await context.start(dut)
    world = begin(dut, (*[matvec] * 40, END))
    world.stall = 0.0
    world.hold = True
    await world.prompt.send([1])
    for _ in range(300):
        await world.edge
    assert world.flying == 15
    world.hold = False
    await world.quiet()
    assert world.flying == 0
    assert len(world.seen.commands) == 80


@cocotb.test()
async def wire_waits(dut: Any) -> None:
    """Cycles of a generation leave out those in which a token waits for the wire."""
    await context.start(dut)
    world = begin(dut)
    cycles = []
    for stall in (0.0, 0.98):
        world = await renew(world)
        world.random.seed(1)
        world.token = StreamSink(dut, "token", stall=stall)
        await world.prompt.send([3])
        await world.quiet()
        await world.ask(12)
        await world.token.receive(12, limit=50_000)
        done = await world.finish()
        assert done["reason"] == REASON_COUNT
        cycles.append(done["cycles"])
    # The units' pace is random: about the same, where the stalls alone take 600 cycles.
    assert abs(cycles[1] - cycles[0]) < 0.25 * cycles[0], cycles
