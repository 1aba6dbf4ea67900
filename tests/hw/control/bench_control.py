"""Cocotb benches of sequencer and generation: the bench plays memory, units and link."""

from collections.abc import Mapping, Sequence
from typing import Any

import cocotb

from bench import context
from hw.control.world import Forgotten, World
from setun.firmware.config import ChipConfig
from setun.firmware.link.messages import Reason
from setun.firmware.numerics.arithmetic import MeanSquare
from setun.firmware.numerics.functions import NO_SEED
from setun.firmware.program import kernels
from setun.firmware.program.isa import PLACES, WORD_BITS, Instruction, Op

END = Instruction(op=Op.END)
PAIRS = 96  # constant pairs before the embedding rows of `PROGRAM`
# One of everything; addresses are multiples of 8, so every number of lanes up to 8 divides them.
BODY = (
    Instruction(op=Op.MODEL, src=1, dst=2, constants=3, immediate=4),
    Instruction(op=Op.SCALARS, constants=1e-5, immediate=1e-6),
    Instruction(op=Op.EMBED, n=20, dst=64, constants=PAIRS, immediate=32),
    Instruction(op=Op.QUANTISE, n=20, src=64, constants=32, immediate=0.05, sync=True),
    Instruction(
        op=Op.MATVEC, n=33, dst=128, block=15, immediate=0.5, kernel=kernels.COPY, keep=True
    ),
    Instruction(
        op=Op.MATVEC,
        n=33,
        src=128,
        dst=192,
        block=16,
        immediate=0.25,
        kernel=kernels.GLU,
        stat_shift=5,
        feeds=True,
    ),
    Instruction(
        op=Op.QUANTISE,
        n=33,
        src=192,
        constants=64,
        immediate=0.125,
        mean_square=MeanSquare.ARRAY,
        stream=True,
    ),
    Instruction(
        op=Op.MATVEC, n=20, src=64, dst=64, block=0xFEDCBA, immediate=1.5, kernel=kernels.ADD
    ),
    Instruction(
        op=Op.QUANTISE, n=20, src=64, immediate=0.05, mean_square=MeanSquare.NONE, sync=True
    ),
    Instruction(op=Op.MATVEC, n=8, src=192, dst=8, block=1, immediate=0.5, kernel=kernels.MLGRU),
    END,
)
HEAD = (
    Instruction(op=Op.QUANTISE, n=20, src=64, immediate=0.05, sync=True),
    Instruction(op=Op.MATVEC, n=257, block=99, immediate=0.5, kernel=kernels.SAMPLE),
    END,
)


def expected(
    config: ChipConfig, program: Sequence[Instruction], tokens: Sequence[int]
) -> list[Any]:
    """Commands of a piece of program for the tokens of all seats, addresses in memory words."""
    v, fmt = config.lanes, config.vector

    def bits(x: float) -> int:
        return int(fmt.to_bits(x)[0])

    commands: list[Any] = []
    for i in program:
        if i.op is Op.EMBED:
            for seat, token in enumerate(tokens):
                first = (int(i.constants) + int(i.immediate) * token) // v
                words = {"first": first, "words": -(-i.n // v), "destination": i.dst // v}
                commands.append(("embed", {**words, "seat": seat}))
        elif i.op is Op.QUANTISE:
            commands.append(
                (
                    "quantise",
                    {
                        "n": i.n,
                        "source": i.src // v,
                        "constants": int(i.constants) // v,
                        "mean_square": int(i.mean_square),
                        "stream": int(i.stream),
                        "inverse_n": bits(i.immediate),
                    },
                )
            )
        elif i.op is Op.MATVEC:
            last = {"last": -(-i.n // config.rows) - 1, "keep": int(i.keep)}
            commands.append(("array", last))
            commands.append(
                (
                    "sink",
                    {
                        "rows": i.n,
                        "kernel": i.kernel.code,
                        "keep": int(i.keep),
                        "feeds": int(i.feeds),
                        "stat_shift": i.stat_shift,
                        "source": i.src // v,
                        "destination": i.dst // v,
                        "scale": bits(i.immediate),
                    },
                )
            )
            commands.append(("weights", {"words": i.block}))
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


def check_seats(world: World) -> None:
    """Who sits where in every pass, by the rules of `setun.hw.seats`."""
    contexts = world.config.contexts
    fresh = [True] * contexts
    for number, entry in enumerate(world.seen.log):
        if isinstance(entry, Forgotten):
            gone = range(contexts) if entry.context is None else [entry.context]
            for where in gone:
                fresh[where] = True
            continue
        for place, seat in enumerate(entry.seats):
            where, what = seat["context"], f"entry {number}, seat {place} of {entry}"
            earlier = where in entry.contexts[:place]
            later = where in entry.contexts[place + 1 :]
            # Only what a context has fed last waits in its own workspace.
            assert seat["workspace"] == (contexts + place if later else where), what
            if entry.head:
                assert not earlier and not later, what
            else:
                assert seat["chained"] == earlier, what
                assert seat["fresh"] == (fresh[where] and not earlier), what
        for where in () if entry.head else entry.contexts:
            fresh[where] = False


def check_run(world: World, fed: Mapping[int, Sequence[int]]) -> None:
    """All commands of all passes, when each context has fed these tokens in this order."""
    check_seats(world)
    left = {where: list(tokens) for where, tokens in fed.items()}
    want, sync = [], []
    for each in world.seen.passes:
        tokens = [] if each.head else [left[where].pop(0) for where in each.contexts]
        piece = HEAD if each.head else BODY
        want += expected(world.config, piece, tokens)
        sync += [i.sync for i in piece if i.op is Op.QUANTISE]
    assert not any(left.values()), f"not fed: {left}"
    check_commands(world, want, sync)
    seen = world.seen
    assert seen.emitted == seen.sampled
    assert seen.restarts == sum(not each.head for each in seen.passes)
    assert seen.samples == [257] * sum(each.head for each in seen.passes)


def begin(dut: Any, program: Sequence[Instruction] | None = None, wire: float = 0.0) -> World:
    config = ChipConfig.from_dict(context.parameters()["config"])
    for port in (
        "stop",
        "reset_state",
        "loading",
        "sampled",
        "sampled_token",
        "stored",
        "context",
        "end_tokens",
        "program_data",
    ):
        getattr(dut, port).value = 0
    world = World(dut, config, stall=0.4, wire=wire)
    world.load(program or (*BODY, *HEAD))
    world.start()
    return world


async def renew(world: World, wire: float = 0.0) -> World:
    """Start over with the default program and new units."""
    await world.end()
    return begin(world.dut, wire=wire)


def some_context(world: World, name: str) -> int:
    """Where a bench of a single conversation has it."""
    return context.generator(name).randrange(world.config.contexts)


@cocotb.test()
async def program(dut: Any) -> None:
    """Bodies and heads hand over every field of every instruction, in order."""
    await context.start(dut)
    world = begin(dut)
    c, where = world.config, some_context(world, "program")
    prompt, count = [0, 5, 65535, 1], 3
    await world.prompt(prompt, where)
    await world.ask(count, where)
    done = await world.finish(where)
    await world.quiet()
    assert world.seen.tokens(where) == [1, 2, 3]
    assert (done["reason"], done["tokens"]) == (Reason.COUNT, count)
    assert done["cycles"] > 0
    assert int(dut.greedy.value) >> where & 1 == 1
    assert int(dut.eps_outer.value) == int(c.vector.to_bits(1e-5)[0])
    assert int(dut.eps_inner.value) == int(c.vector.to_bits(1e-6)[0])
    check_run(world, {where: [*prompt, 1, 2, 3]})
    seen = world.seen
    assert (seen.bodies, seen.heads) == (len(prompt) + count, count)
    # A further generation needs no prompt: whatever was emitted has been fed.
    await world.ask(1, where, greedy=0, seed=0)
    assert (await world.finish(where))["reason"] == Reason.COUNT
    assert seen.tokens(where) == [1, 2, 3, 4]
    width = c.vector.width
    factor = int(dut.factor.value) >> (width * where) & ((1 << width) - 1)
    assert (int(dut.greedy.value) >> where & 1, factor) == (0, 0x155 + where)
    assert seen.seeds == [(where, 77), (where, NO_SEED)]
    check_run(world, {where: [*prompt, 1, 2, 3, 4]})


@cocotb.test()
async def no_prompt(dut: Any) -> None:
    """Nothing fed since power-on, since a reset, since memory was written: reason 2."""
    await context.start(dut)
    world = begin(dut)
    where = some_context(world, "no_prompt")
    for cause in (None, "reset_state", "loading"):
        if cause is not None:
            await world.prompt([1], where)
            await world.quiet()
            await world.strobe(cause, where)
            await world.edge
        bodies = world.seen.bodies
        await world.ask(5, where)
        done = await world.finish(where)
        assert (done["reason"], done["tokens"]) == (Reason.NO_PROMPT, 0), (cause, done)
        await world.quiet()
        assert world.seen.bodies == bodies
        assert world.seen.heads == 0
    await world.prompt([1], where)
    await world.quiet()
    check_run(world, {where: [1, 1, 1]})


@cocotb.test()
async def faults(dut: Any) -> None:
    """A code that means nothing ends the run with reason 3, until the program is replaced."""
    await context.start(dut)
    world = begin(dut)
    first = len(BODY)
    assert BODY[4].op is HEAD[1].op is Op.MATVEC and BODY[3].op is HEAD[0].op is Op.QUANTISE
    wrong = [
        *(("op", op, (0, 3), (first, first + 1)) for op in (0, 7, 15)),
        *(("kernel", code, (4, 5), (first + 1,)) for code in (6, 7)),
        ("mean_square", 3, (3,), (first,)),
    ]
    for number, (name, code, *parts) in enumerate(wrong):
        for part, places in zip(("body", "head"), parts, strict=True):
            for place in places:
                world = await renew(world)
                where = some_context(world, f"faults {name} {code} {place}")
                bits = PLACES[name]
                low = WORD_BITS * bits.word + bits.low
                mask = (1 << bits.bits) - 1 << low
                world.program[place] = world.program[place] & ~mask | code << low
                await world.prompt([1, 2], where)
                await world.ask(3, where)
                done = await world.finish(where)
                what = f"{name} {code} at {place} of the {part}, round {number}: {done}"
                assert (done["reason"], done["tokens"]) == (Reason.FAULT, 0), what
                await world.quiet()
                heads = world.seen.heads
                await world.ask(3, where)
                assert (await world.finish(where))["reason"] == Reason.FAULT, what
                assert world.seen.heads == heads, what
                world.load((*BODY, *HEAD))
                await world.strobe("loading")
                await world.prompt([1], where)
                await world.ask(1, where)
                assert (await world.finish(where))["reason"] == Reason.COUNT, what
                assert len(world.seen.tokens(where)) == 1


@cocotb.test()
async def stop(dut: Any) -> None:
    """A stop at any time ends the generation; every emitted token has been fed."""
    await context.start(dut)
    world = begin(dut)
    rng, where = context.generator("stop"), some_context(world, "stop")
    total = 0
    for number in range(25):
        before = len(world.seen.emitted)
        await world.prompt([7], where)
        await world.ask(60_000, where)
        for _ in range(rng.randrange(3 if number % 2 else 1500)):
            await world.edge
        assert await world.look("generating", where)
        await world.strobe("stop", where)
        done = await world.finish(where)
        received = len(world.seen.emitted) - before
        assert (done["reason"], done["tokens"]) == (Reason.STOPPED, received), number
        await world.quiet()
        total += 1 + received
        assert world.seen.bodies == total, f"stop {number}: a token was not fed"
    # A stop while nothing runs is forgotten.
    await world.strobe("stop", where)
    await world.ask(2, where)
    assert (await world.finish(where))["reason"] == Reason.COUNT


@cocotb.test()
async def end_of_text(dut: Any) -> None:
    """A token that ends the text is the last, and has been fed; who asked for none goes on."""
    await context.start(dut)
    world = begin(dut)
    where, other = some_context(world, "end_of_text"), world.config.contexts - 1
    for place, last in enumerate((3, 2 * 3, 10, 13)):  # the units sample 1, 2, 3 …
        before = world.next_token
        known = [0xFFFF] * 4
        known[place] = before + last
        dut.end_tokens.value = sum(token << (16 * k) for k, token in enumerate(known))
        await world.prompt([9], where)
        # The last one that the count allows, too; and not another, whatever is known.
        await world.ask(last if place == 1 else 60_000, where, ends=1)
        done = await world.finish(where)
        assert (done["reason"], done["tokens"]) == (Reason.END_OF_TEXT, last), (place, done)
        await world.quiet()
        assert world.next_token == before + last
        dut.end_tokens.value = before + last + 1
        await world.ask(2, where)
        done = await world.finish(where)
        assert (done["reason"], done["tokens"]) == (Reason.COUNT, 2), (place, done)
    await world.quiet()
    assert world.seen.bodies == 4 + len(world.seen.tokens(where))
    if other != where:
        # Two at once: the one ends, the other goes on to its count.
        dut.end_tokens.value = sum((world.next_token + k) << (16 * (k - 1)) for k in (1, 2, 3, 4))
        await world.prompt([1], where)
        await world.prompt([1], other)
        await world.ask(20, where, ends=1)
        await world.ask(20, other)
        ended, whole = await world.finish(where), await world.finish(other)
        assert (ended["reason"], whole["reason"]) == (Reason.END_OF_TEXT, Reason.COUNT)
        assert ended["tokens"] < 4 and whole["tokens"] == 20


@cocotb.test()
async def outstanding(dut: Any) -> None:
    """At most 15 matvecs are on their way, however long the units' queues are."""
    matvec = Instruction(op=Op.MATVEC, n=8, immediate=0.5)
    await context.start(dut)
    world = begin(dut, (*[matvec] * 40, END))
    world.stall = 0.0
    world.hold = True
    await world.prompt([1])
    for _ in range(300):
        await world.edge
    assert world.flying == 15
    world.hold = False
    await world.quiet()
    assert world.flying == 0
    assert len(world.seen.commands) == 120


@cocotb.test()
async def wire_waits(dut: Any) -> None:
    """Cycles of a generation leave out those in which a token waits for the wire."""
    await context.start(dut)
    world = begin(dut)
    where = some_context(world, "wire_waits")
    cycles = []
    for wire in (0.0, 0.98):
        world = await renew(world, wire=wire)
        world.random.seed(1)
        await world.prompt([3], where)
        await world.quiet()
        await world.ask(12, where)
        done = await world.finish(where)
        assert (done["reason"], done["tokens"]) == (Reason.COUNT, 12)
        cycles.append(done["cycles"])
    # The units' pace is random: about the same, where the stalls alone take 600 cycles.
    assert abs(cycles[1] - cycles[0]) < 0.25 * cycles[0], cycles
