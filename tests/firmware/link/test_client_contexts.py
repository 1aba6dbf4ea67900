"""The host client with several conversations under way on a port that answers by script."""

import struct
import time
from itertools import chain, zip_longest

import pytest

from firmware.link.test_client import FakePort, client, ok, refusal
from setun.firmware.link import ChipClient, Command, encode_frame
from setun.firmware.link.messages import CONTEXT

Script = list[tuple[int, int, bytes]]


def script(k: int, first: int, tokens: list[int], cycles: int = 9) -> Script:
    """The events of one generation of context k."""
    kinds = 0xC0 | k << 4, 0xC1 | k << 4
    events = [(kinds[0], first + n & 0xFF, t.to_bytes(2, "little")) for n, t in enumerate(tokens)]
    done = struct.pack("<BHI", 0, len(tokens), cycles)
    return [*events, (kinds[1], first + len(tokens) & 0xFF, done)]


class Chip:
    """Answers GENERATE with its first event's number; `say` puts events on the line."""

    def __init__(self, first: dict[int, int], **options: float) -> None:
        self.first = first
        self.client, self.port = client(self.answer, **options)

    def answer(self, kind: int, seq: int, payload: bytes) -> bytes:
        if kind & ~CONTEXT != Command.GENERATE:
            return ok(kind, seq, payload)
        return encode_frame(kind | 0x80, seq, bytes((0, self.first[kind >> 4 & 3])))

    def say(self, events: Script) -> None:
        for event in events:
            self.port.waiting += encode_frame(*event)


FIRST = {0: 250, 1: 7, 2: 0, 3: 255}
TOKENS = {0: list(range(10, 22)), 1: [5], 2: [1, 2, 3], 3: [65535, 0, 9, 9]}


def start(chip: Chip) -> dict[int, object]:
    return {k: chip.client.generate(len(TOKENS[k]), True, 0, 0, k) for k in TOKENS}


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_iterators_in_any_order(order: tuple[int, ...]) -> None:
    chip = Chip(FIRST)
    iterators = start(chip)
    scripts = [script(k, FIRST[k], TOKENS[k], cycles=k) for k in TOKENS]
    chip.say([event for event in chain(*zip_longest(*scripts)) if event])
    # One token of each, then one after the other to its end.
    assert [next(iterators[k]) for k in order] == [TOKENS[k][0] for k in order]
    for k in order:
        assert list(iterators[k]) == TOKENS[k][1:]
        done = chip.client.last_done
        assert done is not None and (done.tokens, done.cycles) == (len(TOKENS[k]), k)


@pytest.mark.parametrize("lost", range(4))
@pytest.mark.parametrize("position", [0, -2])
def test_loss_is_found_in_its_context_only(lost: int, position: int) -> None:
    chip = Chip(FIRST)
    iterators = start(chip)
    for k in TOKENS:
        events = script(k, FIRST[k], TOKENS[k])
        if k == lost:
            del events[position]
        chip.say(events)
    for k in TOKENS:
        if k == lost:
            assert "token events" in refusal(lambda k=k: list(iterators[k]))
        else:
            assert list(iterators[k]) == TOKENS[k]


def test_lost_end_is_noticed_while_others_go_on() -> None:
    """Every wait ends, also when the line is never silent."""
    chip = Chip({0: 0, 1: 0}, patience=0.2)
    iterators = [chip.client.generate(60_000, True, 0, 0, k) for k in (0, 1)]
    chip.say(script(0, 0, [4, 5])[:-1])
    number = 0
    read = chip.port.read

    def chatter(size: int = 1) -> bytes:
        nonlocal number
        chip.say([(0xD0, number & 0xFF, b"\1\2")])
        number += 1
        return read(size)

    chip.port.read = chatter  # type: ignore[method-assign]
    assert [next(iterators[0]), next(iterators[0])] == [4, 5]
    assert "after 2 tokens" in refusal(lambda: next(iterators[0]))
    assert next(iterators[1]) == 0x0201


def test_patience_begins_when_the_caller_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    chip = Chip({0: 0}, patience=50.0)
    iterator = chip.client.generate(2, True, 0, 0)
    chip.say(script(0, 0, [4, 5])[:1])
    assert next(iterator) == 4
    now = [time.monotonic()]
    monkeypatch.setattr("setun.firmware.link.client.time.monotonic", lambda: now[0])
    asked = len(chip.port.asked)
    now[0] += 1000
    silent = chip.port.read

    def late(size: int = 1) -> bytes:
        if len(chip.port.asked) > asked:
            chip.say(script(0, 0, [4, 5])[1:])
        return silent(size)

    chip.port.read = late  # type: ignore[method-assign]
    assert list(iterator) == [5]


def test_stale_events_of_one_context() -> None:
    chip = Chip({0: 20, 1: 20})
    chip.say(script(0, 17, [8, 8]))
    for k in (0, 1):
        tokens = chip.client.generate(1, True, 0, 0, k)
        chip.say(script(k, 20, [33]))
        assert list(tokens) == [33]


def test_iterator_left_over_takes_nothing_of_the_next_generation() -> None:
    chip = Chip({0: 3})
    left_over = chip.client.generate(2, True, 0, 0)
    chip.say(script(0, 3, [6, 7])[:1])
    assert next(left_over) == 6
    chip.client.stop()
    chip.first[0] = 5
    second = chip.client.generate(1, True, 0, 0)
    chip.say(script(0, 5, [8]))
    assert "next one" in refusal(lambda: next(left_over))
    assert list(second) == [8]


def test_commands_name_their_context() -> None:
    chip, port = client(ok)
    for k in range(4):
        chip.reset(k)
        chip.stop(k)
        chip.prompt([1], k)
    kinds = [kind for kind, _, _ in port.asked]
    assert kinds == [c | k << 4 for k in range(4) for c in (0x05, 0x08, 0x06)]
    asked = len(port.asked)
    for k in (-1, 4, 16):
        for call in (chip.reset, chip.stop):
            assert "context: from 0 to 3" in refusal(lambda call=call, k=k: call(k))
        assert "context" in refusal(lambda k=k: chip.prompt([1], k))
        assert "context" in refusal(lambda k=k: chip.generate(1, True, 0, 0, k))
    assert len(port.asked) == asked


def test_refusals_name_the_command() -> None:
    def refuse(kind: int, seq: int, payload: bytes) -> bytes:
        return encode_frame(kind | 0x80, seq, b"\2")

    chip, _ = client(refuse)
    assert "PROMPT command" in refusal(lambda: chip.prompt([1], 3))
    assert "STOP command" in refusal(lambda: chip.stop(2))
    chip, _ = client(lambda *_: b"")
    assert "RESET" in refusal(lambda: chip.reset(1))
    # An answer for another context is no answer.
    port = FakePort(lambda kind, seq, _: encode_frame(kind ^ 0x10 | 0x80, seq, b"\0"))
    refusal(ChipClient(port, timeout=0.02, retries=1).stop)  # type: ignore[arg-type]
