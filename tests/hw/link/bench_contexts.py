"""Cocotb benches of a link with several contexts, through its UART pins."""

import random
import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import cocotb
from cocotb.task import bridge

from bench import context
from hw.link.line import SimulatedPort
from hw.link.raw import Raw, begin, whose
from hw.link.toy import COUNTERS, QUEUE, ToyModel
from setun.firmware.link import ChipClient, Command, Event, Frame, Status, encode_frame
from setun.firmware.link.messages import CONTEXT, MAX_CONTEXTS, OF_CONTEXT

PLACE = struct.pack("<BI", 0, 0)
MEMORY = [
    (Command.WRITE, PLACE + struct.pack("<I", 5)),
    (Command.READ, PLACE + b"\1"),
    (Command.CRC, PLACE + struct.pack("<I", 1)),
]


def request(count: int, seed: int) -> bytes:
    return struct.pack("<HBII", count, 0, 0, seed)


def pack(tokens: list[int]) -> bytes:
    return struct.pack(f"<{len(tokens)}H", *tokens)


async def counters(raw: Raw) -> list[int]:
    reply = await raw.ask(Command.COUNTERS)
    return list(struct.unpack(f"<B{COUNTERS}I", reply.payload)[1:])


def sorted_out(events: list[Frame], numbers: list[int]) -> list[tuple[list[int], list[Any]]]:
    """Tokens and ends (reason, tokens) of each context; `numbers` move on with its events."""
    out: list[tuple[list[int], list[Any]]] = [([], []) for _ in range(MAX_CONTEXTS)]
    for event in events:
        tokens, ends = out[whose(event)]
        assert event.seq == numbers[whose(event)], event
        numbers[whose(event)] = (event.seq + 1) & 0xFF
        if event.kind & ~CONTEXT == Event.DONE:
            ends.append(struct.unpack("<BHI", event.payload)[:2])
        else:
            tokens.append(int.from_bytes(event.payload, "little"))
    return out


@cocotb.test()
async def addresses(dut: Any) -> None:
    """Which types name a context, and what happens when the chip does not have it."""
    raw = Raw(await begin(dut))
    contexts = context.parameters()["contexts"]
    payloads = {Command.PROMPT: pack([1]), Command.GENERATE: request(1, 0), **dict(MEMORY)}
    for k in range(MAX_CONTEXTS):
        for command in OF_CONTEXT:
            kind, payload = command | k << 4, payloads.get(command, b"")
            expected = Status.OK if k < contexts else Status.BAD_ARGUMENT
            assert await raw.status(kind, payload) == expected, (k, command)
            assert await raw.status(kind, payload + b"x") == Status.BAD_ARGUMENT, (k, command)
            for beyond in (0x40, 0x80, 0xC0):
                status = await raw.status(kind | beyond, payload)
                assert status == Status.UNKNOWN_COMMAND, (k, command, beyond)
        for command in set(Command) - set(OF_CONTEXT) if k else ():
            status = await raw.status(command | k << 4, payloads.get(command, b""))
            assert status == Status.UNKNOWN_COMMAND, (k, command)
    events = await raw.until_done(*range(contexts))
    assert {whose(event) for event in events} == set(range(contexts))
    resets, stops, fed, _, ends, broken = await counters(raw)
    assert (resets, stops, fed, ends, broken) == (contexts, contexts, contexts, contexts, 0)


@cocotb.test()
async def busy(dut: Any) -> None:
    """RESET, PROMPT and GENERATE wait for their own context, memory commands for all of them."""
    raw = Raw(await begin(dut))
    models = [ToyModel() for _ in range(4)]
    first, second = (list(range(at, at + 64)) for at in (100, 300))

    # A context whose prompt is being consumed works already.
    frames = [(Command.PROMPT | 2 << 4, pack(first)), (Command.RESET | 2 << 4, b""), *MEMORY]
    raw.line.post(b"".join(encode_frame(kind, 200 + n, p) for n, (kind, p) in enumerate(frames)))
    answers = [await raw.line.frame() for _ in frames]
    assert [a.kind for a in answers] == [0x80 | kind for kind, _ in frames]
    assert [a.payload[0] for a in answers] == [Status.OK] + 4 * [Status.BUSY]
    models[2].prompt(first)
    while await raw.status(Command.RESET | 2 << 4) == Status.BUSY:
        pass
    models[2].state = 0

    assert await raw.status(Command.PROMPT | 3 << 4, pack(second)) == Status.OK
    models[3].prompt(second)
    assert await raw.status(Command.GENERATE | 1 << 4, request(0xFFFF, 9)) == Status.OK
    for kind, payload in [
        *MEMORY,
        (Command.RESET | 1 << 4, b""),
        (Command.PROMPT | 1 << 4, pack([1])),
        (Command.GENERATE | 1 << 4, request(1, 0)),
    ]:
        assert await raw.status(kind, payload) == Status.BUSY, hex(kind)
    # The others do not wait for it, and each has a queue of its own.
    assert await raw.status(Command.RESET) == Status.OK
    taken = 0
    while await raw.status(Command.PROMPT, pack(first)) == Status.OK:
        models[0].prompt(first)
        taken += 1
        assert 64 * taken < 4 * QUEUE
    assert taken
    assert await raw.status(Command.PROMPT | 2 << 4, pack(second)) == Status.OK
    models[2].prompt(second)
    for k in (0, 2, 3):
        assert await raw.status(Command.GENERATE | k << 4, request(3, k)) == Status.OK
    numbers = [0] * 4
    seen = sorted_out(await raw.until_done(0, 2, 3), numbers)
    for k in (0, 2, 3):
        assert seen[k] == (models[k].generate(3, False, 0, k), [(0, 3)])
    # Memory still waits for the last one.
    for kind, payload in MEMORY:
        assert await raw.status(kind, payload) == Status.BUSY
    assert await raw.status(Command.STOP | 1 << 4) == Status.OK
    more = sorted_out(await raw.until_done(1), numbers)
    tokens = seen[1][0] + more[1][0]
    assert tokens == models[1].generate(len(tokens), False, 0, 9)
    assert more[1][1] == [(1, len(tokens))] and not any(more[k][0] for k in (0, 2, 3))
    for kind, payload in MEMORY:
        assert await raw.status(kind, payload) == Status.OK
    # RESET clears the state of its own context only.
    assert await raw.status(Command.RESET | 3 << 4) == Status.OK
    models[3].state = 0
    for k, model in enumerate(models):
        assert await raw.status(Command.GENERATE | k << 4, request(2, 7)) == Status.OK
        seen = sorted_out(await raw.until_done(k), numbers)
        assert seen[k] == (model.generate(2, False, 0, 7), [(0, 2)])
    assert (await counters(raw))[5] == 0


@cocotb.test()
async def repeats(dut: Any) -> None:
    """One frame twice is one command; the same number in another context is another command."""
    raw = Raw(await begin(dut))
    fed = 0
    for k in (0, 1, 2, 3, 0):
        for _ in range(3):
            assert await raw.status(Command.PROMPT | k << 4, pack([1, 2, 3]), seq=200) == Status.OK
        fed += 3
    assert (await counters(raw))[2] == fed
    ask = request(5, 1)
    for k in range(4):
        replies = [await raw.ask(Command.GENERATE | k << 4, ask, seq=9) for _ in range(3)]
        assert [reply.payload for reply in replies] == 3 * [b"\0\0"]
    events = await raw.until_done(0, 1, 2, 3)
    assert len(events) == 4 * 6
    # Not even when the generation is over.
    assert (await raw.ask(Command.GENERATE | 3 << 4, ask, seq=9)).payload == b"\0\0"
    assert (await counters(raw))[3:] == [20, 4, 0]

    # What was refused stays refused under its number, whatever has become of the cause: the host
    # may have read the first answer by then, and asked anew.
    for kind, payload in ((Command.PROMPT, pack([7])), (Command.GENERATE, ask)):
        for k in (1, 2):
            assert await raw.status(Command.GENERATE | k << 4, request(8, 1), seq=30) == Status.OK
            assert await raw.status(kind | k << 4, payload, seq=31) == Status.BUSY
            assert len(await raw.until_done(k)) == 9
            assert await raw.status(kind | k << 4, payload, seq=31) == Status.BUSY
            assert await raw.status(kind | k << 4, payload, seq=32) == Status.OK
            if kind == Command.GENERATE:
                assert len(await raw.until_done(k)) == 6
    bad = request(0, 1)
    for _ in range(2):
        assert await raw.status(Command.GENERATE, bad, seq=40) == Status.BAD_ARGUMENT
    assert (await counters(raw))[2:] == [fed + 2, 20 + 4 * 8 + 2 * 5, 4 + 4 + 2, 0]


@cocotb.test()
async def events(dut: Any) -> None:
    """Generations of all contexts at once: events by turns, numbered per context."""
    raw = Raw(await begin(dut))
    models = [ToyModel() for _ in range(4)]
    numbers = [0] * 4
    for counts in ((40, 7, 300, 25), (30, 2, 20, 270)):
        for k, count in enumerate(counts):
            prompt = [1000 * k + n for n in range(3 * k)]
            if prompt:
                assert await raw.status(Command.PROMPT | k << 4, pack(prompt)) == Status.OK
                models[k].prompt(prompt)
            reply = await raw.ask(Command.GENERATE | k << 4, request(count, count))
            assert reply.payload == bytes((Status.OK, numbers[k]))
        assert await raw.status(Command.INFO) == Status.OK
        found = await raw.until_done(0, 1, 2, 3)
        for k, (tokens, ends) in enumerate(sorted_out(found, numbers)):
            assert tokens == models[k].generate(counts[k], False, 0, counts[k])
            assert ends == [(0, counts[k])]
        turns = sum(whose(one) != whose(other) for one, other in pairwise(found))
        assert turns > sum(sorted(counts)[:-1]) / 2, turns
        # The end of one does not wait until the others run out of tokens.
        for k in range(4):
            last, end = [place for place, event in enumerate(found) if whose(event) == k][-2:]
            assert end - last < 8, (k, last, end)
    assert numbers == [40 + 30 + 2, 7 + 2 + 2, (300 + 20 + 2) & 0xFF, (25 + 270 + 2) & 0xFF]
    assert (await counters(raw))[5] == 0


@cocotb.test()
async def stops(dut: Any) -> None:
    """STOP ends the generation of its context and of no other, before its first token too."""
    raw = Raw(await begin(dut))
    models = [ToyModel() for _ in range(4)]
    numbers = [0] * 4
    given: list[list[int]] = [[] for _ in range(4)]

    def note(events: list[Frame]) -> list[list[Any]]:
        found = sorted_out(events, numbers)
        for k, (tokens, _) in enumerate(found):
            given[k] += tokens
        return [ends for _, ends in found]

    for k in range(4):
        count = 120 if k == 2 else 0xFFFF
        assert await raw.status(Command.GENERATE | k << 4, request(count, k)) == Status.OK
    assert not any(note([await raw.line.frame() for _ in range(20)]))
    assert await raw.status(Command.STOP | 1 << 4) == Status.OK
    ends = note(await raw.until_done(1))
    assert ends == [[], [(1, len(given[1]))], [], []]
    assert given[1] == models[1].generate(len(given[1]), False, 0, 1)
    # Once more does nothing, and so does a STOP for a context at rest.
    assert await raw.status(Command.STOP | 1 << 4) == Status.OK
    ends = note(await raw.until_done(2))
    assert ends == [[], [], [(0, 120)], []]
    assert given[2] == models[2].generate(120, False, 0, 2)

    prompt = list(range(64))
    given[1].clear()
    models[1].prompt(prompt)
    frames = [
        (Command.PROMPT | 1 << 4, pack(prompt)),
        (Command.GENERATE | 1 << 4, request(5, 5)),
        (Command.STOP | 1 << 4, b""),
    ]
    raw.line.post(b"".join(encode_frame(kind, 100 + n, p) for n, (kind, p) in enumerate(frames)))
    answers, events = [], []
    while not any(event.kind == Event.DONE | 1 << 4 for event in events):
        frame = await raw.line.frame()
        (events if frame.kind >= 0xC0 else answers).append(frame)
    assert [a.kind for a in answers] == [0x80 | kind for kind, _ in frames]
    assert not any(a.payload[0] for a in answers)
    assert note(events) == [[], [(1, 0)], [], []] and not given[1]
    # Its state went through the prompt and no further.
    assert await raw.status(Command.GENERATE | 1 << 4, request(5, 5)) == Status.OK
    assert note(await raw.until_done(1)) == [[], [(0, 5)], [], []]
    assert given[1] == models[1].generate(5, False, 0, 5)

    for k in (0, 3):
        assert await raw.status(Command.STOP | k << 4) == Status.OK
        assert note(await raw.until_done(k))[k] == [(1, len(given[k]))]
        assert given[k] == models[k].generate(len(given[k]), False, 0, k)
    assert len(given[2]) == 120
    _, stopped, _, _, ends_seen, broken = await counters(raw)
    assert (stopped, ends_seen, broken) == (5, 6, 0)


@cocotb.test()
async def conversations(dut: Any) -> None:
    """The host client holds several conversations, in any order, each equal to its model."""
    line = await begin(dut)
    port = SimulatedPort(line)
    rng = random.Random(context.seed())
    contexts = context.parameters()["contexts"]

    class Talk:
        """One context and what it should say."""

        def __init__(self, k: int, chip: ChipClient) -> None:
            self.k, self.chip, self.model = k, chip, ToyModel()
            self.tokens: Iterator[int] | None = None
            self.given: list[int] = []
            self.asked = (0, False, 0, 0)
            self.stopped = False

        def step(self) -> None:
            if self.tokens:
                choice = rng.randrange(4)
                if choice == 0 and not self.stopped:
                    self.chip.stop(self.k)
                    self.stopped = True
                self.listen(100 if choice == 1 else rng.randrange(5))
            elif (choice := rng.randrange(4)) == 0:
                self.chip.reset(self.k)
                self.model.state = 0
            elif choice == 1:
                prompt = [rng.randrange(1 << 16) for _ in range(rng.randrange(1, 90))]
                self.chip.prompt(prompt, self.k)
                self.model.prompt(prompt)
            else:
                self.given, self.stopped = [], False
                self.asked = (rng.randrange(1, 60), bool(choice & 1), 3, rng.randrange(1 << 32))
                self.tokens = self.chip.generate(*self.asked, self.k)

        def listen(self, count: int) -> None:
            assert self.tokens is not None
            for _ in range(count):
                token = next(self.tokens, None)
                if token is None:
                    done = self.chip.last_done
                    assert done is not None and done.tokens == len(self.given)
                    assert self.stopped if done.reason else done.tokens == self.asked[0]
                    assert self.given == self.model.generate(done.tokens, *self.asked[1:])
                    self.tokens = None
                    return
                self.given.append(token)

    def session() -> None:
        chip = ChipClient(port, timeout=2.0)
        talks = [Talk(k, chip) for k in range(contexts)]
        at_once = 0
        for _ in range(100):
            rng.choice(talks).step()
            at_once = max(at_once, sum(talk.tokens is not None for talk in talks))
        assert at_once == contexts
        rng.shuffle(talks)
        for talk in talks:
            while talk.tokens:
                talk.listen(100)
        chip.write(0, 3, [1, 2])  # not BUSY for good
        assert list(chip.read(0, 3, 2)) == [1, 2]
        assert chip.transport.resent == 0 and chip.counters()[5] == 0

    await bridge(session)()
    assert not line.reader.refused
