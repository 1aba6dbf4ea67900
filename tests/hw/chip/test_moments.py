"""Commands at every moment of a token: the answer by the rules, and golden tokens ever after."""

import random
import struct
from collections import Counter
from collections.abc import Iterator

import pytest

from bench.folders import VECTORS
from setun.backends import GoldenBackend, Sampling, SimulatedBackend
from setun.backends.simulated import simulated_config
from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import Space, sized_for
from setun.firmware.link import Command, Done, Event, Reason, Status, encode_frame
from setun.firmware.link.transport import Transport
from setun.models.load import load_model

PROMPT, COUNT, SEED = [3, 1, 4], 3, 41
REQUEST = struct.pack("<HBII", COUNT, 1, 0, 1)
# What comes in the middle, and what may be answered: by a chip at work, by one that is done.
COMMANDS = {
    Command.STOP: (b"", {Status.OK}),
    Command.INFO: (b"", {Status.OK}),
    Command.COUNTERS: (b"", {Status.OK}),
    Command.RESET: (b"", {Status.BUSY, Status.OK}),
    Command.PROMPT: (struct.pack("<2H", 9, 10), {Status.BUSY, Status.OK}),
    Command.GENERATE: (REQUEST, {Status.BUSY, Status.OK}),
    Command.WRITE: (struct.pack("<BII", Space.VECTOR, 0, 7), {Status.BUSY, Status.OK}),
    Command.READ: (struct.pack("<BIB", Space.STATE, 0, 1), {Status.BUSY, Status.OK}),
}
pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def image() -> Image:
    return load_model(VECTORS / "a_h64_l2")


@pytest.fixture(scope="module")
def chip(image: Image) -> Iterator[SimulatedBackend]:
    config = simulated_config(sized_for(image, ChipConfig(columns=8, rows=4, lanes=4)))
    backend = SimulatedBackend(image, config)
    yield backend
    backend.close()


class Moments:
    """Frames in one piece on the wire, so that the delimiters between them are a clock."""

    def __init__(self, link: Transport) -> None:
        self.link, self.seq = link, 0

    def send(self, *parts: tuple[int, bytes] | int) -> list[int]:
        """Frames, and numbers of byte times between them; the frames' numbers."""
        wire, numbers = b"\0", []
        for part in parts:
            if isinstance(part, int):
                wire += bytes(part)
            else:
                self.seq = self.seq % 255 + 1
                numbers.append(self.seq)
                wire += encode_frame(part[0], self.seq, part[1])
        self.link._replies.clear()
        self.link.events[0].clear()
        self.link.send(wire)
        return numbers

    def begin(self) -> None:
        """An empty state, once what a late PROMPT left is consumed."""
        while self.answers(self.send((Command.RESET, b""))) != [Status.OK]:
            pass

    def answers(self, numbers: list[int]) -> list[int]:
        """Statuses, in order."""
        replies = self.link._replies
        while len(replies) < len(numbers):
            assert self.link.pump(60.0), f"{len(replies)} answers of {len(numbers)}"
        got = [replies.popleft() for _ in numbers]
        assert [frame.seq for frame in got] == numbers
        return [frame.payload[0] for frame in got]

    def ending(self) -> tuple[list[int], Done]:
        """Tokens and end of one generation."""
        tokens: list[int] = []
        while True:
            while not self.link.events[0]:
                assert self.link.pump(60.0), f"no end behind {tokens}"
            event = self.link.events[0].popleft()
            if event.kind == Event.DONE:
                done = Done.unpack(event.payload)
                assert done is not None
                return tokens, done
            tokens.append(int.from_bytes(event.payload, "little"))


def check(chip: SimulatedBackend, image: Image, step: int) -> None:
    """Each command so many byte times after the request, from 0 to behind the generation's end."""
    expected, rng = (
        list(GoldenBackend(image, chip.config.numerics).generate(PROMPT, COUNT, Sampling())),
        random.Random(SEED),
    )
    moments, seen = Moments(chip._serial.client.transport), Counter[tuple[str, str]]()
    ask = [(Command.PROMPT, struct.pack("<3H", *PROMPT)), (Command.GENERATE, REQUEST)]
    moments.begin()
    assert moments.answers(moments.send(*ask)) == [Status.OK] * 2
    tokens, done = moments.ending()
    assert (tokens, done.reason) == (expected, Reason.COUNT)
    # The prompt is fed at a token's pace too.
    byte_cycles = 10 * chip.config.divisor
    last = done.cycles * (COUNT + len(PROMPT) + 1) // COUNT // byte_cycles
    print(f"seed {SEED}, {done.cycles // COUNT} cycles a token, offsets up to {last} bytes")
    for start in range(0, last, step):
        for command, (payload, allowed) in COMMANDS.items():
            offset = start + rng.randrange(step)
            moments.begin()
            numbers = moments.send(*ask, offset, (command, payload))
            *first, status = moments.answers(numbers)
            what = f"{command.name} after {offset} bytes"
            assert first == [Status.OK] * 2 and status in allowed, (what, first, status)
            tokens, done = moments.ending()
            assert tokens == expected[: len(tokens)] and done.tokens == len(tokens), what
            stopped = command is Command.STOP and done.reason == Reason.STOPPED
            assert stopped or (len(tokens), done.reason) == (COUNT, Reason.COUNT), (what, done)
            if command is Command.GENERATE and status == Status.OK:
                moments.ending()
            seen[command.name, Reason(done.reason).name + " " + Status(status).name] += 1
    moments.begin()
    assert moments.answers(moments.send(*ask)) == [Status.OK] * 2
    assert moments.ending()[0] == expected
    print({f"{name} {what}": count for (name, what), count in sorted(seen.items())})
    for command, (_, allowed) in COMMANDS.items():
        if len(allowed) > 1:
            assert {seen[command.name, f"COUNT {status.name}"] > 0 for status in allowed} == {True}
    assert seen["STOP", "STOPPED OK"] and seen["STOP", "COUNT OK"]


@pytest.mark.many_cycles
def test_commands_at_many_moments(chip: SimulatedBackend, image: Image) -> None:
    check(chip, image, 40)


@pytest.mark.slow
def test_commands_at_every_moment(chip: SimulatedBackend, image: Image) -> None:
    check(chip, image, 1)
