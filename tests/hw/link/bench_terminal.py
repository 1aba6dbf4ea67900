"""Cocotb benches of the terminal in the link: a person, a host, and both in turn."""

import copy
from typing import Any

import cocotb

from bench import context
from hw.link.line import Line
from hw.link.person import NEWLINES, Screen
from hw.link.raw import Raw, begin
from hw.link.toy import INFO, ToyModel
from setun.firmware.link import Command, Event, Status, encode_frame
from setun.hw.link.sharing import SILENCE


def screen() -> Screen:
    return Screen(context.parameters()["text"], ToyModel())


async def shows(line: Line, expected: bytes, bits: int = 3000) -> None:
    """Exactly these characters come."""
    left = bits
    while len(line.received) < len(expected) and left > 0:
        if not await line.news(100 * line._bit_ns):
            left -= 100
    cocotb.log.info("expect %r", expected)
    got = bytes(line.received[: len(expected)])
    assert got == expected, f"shown {got!r}, expected {expected!r}"
    del line.received[: len(expected)]


async def silent(line: Line, bits: int = 400) -> None:
    await line.level(1, bits)
    assert not line.received, bytes(line.received)


async def silence(line: Line) -> None:
    await line.level(1, SILENCE * context.parameters().get("silence", 20))


@cocotb.test()
async def lines(dut: Any) -> None:
    """Lines of every length and ending, with mistakes, one conversation after another."""
    line, rng = await begin(dut), context.generator("lines")
    seen = screen()
    printable = bytes(range(32, 127))
    for number in range(context.parameters()["lines"]):
        length = rng.choice((0, 1, 2, 5, 20, 62, 63, 64, 70))
        keys = bytearray(rng.choice(printable) for _ in range(length))
        for _ in range(rng.randrange(4)):
            keys.insert(rng.randrange(len(keys) + 1), rng.choice((8, 127, 9, 27, 200)))
        if not number % 7:
            keys += bytes((8,)) * (length + 5)
        if number == 0:
            keys[:0] = b"\r"
        for byte in bytes(keys) + rng.choice(NEWLINES):
            expected = seen.key(byte)
            line.post(bytes((byte,)))
            await shows(line, expected)
        await silent(line)
    assert not line.frames


async def types(line: Line, seen: Screen, keys: bytes) -> None:
    expected = b"".join(map(seen.key, keys))
    for key in keys:
        line.post(bytes((key,)))
        await line.drained()
        await line.level(1, 60)  # no key comes into an answer
        if key in b"\r\n":
            await line.level(1, 2000)
    await shows(line, expected)


async def host(line: Line) -> None:
    """A host's turn: the first 0x00 takes the wire, and frames are answered as ever."""
    line.post(b"\0")
    await line.drained()
    await line.level(1, 20)
    assert line.received.endswith(b"\0"), "what was shown must not run into the first frame"
    raw = Raw(line)
    for _ in range(3):
        assert (await raw.ask(Command.INFO)).payload == b"\0" + INFO
    line.received.clear()


@cocotb.test()
async def turns(dut: Any) -> None:
    """The wire goes to and fro: in the middle of a line, of an answer, behind a frame cut short."""
    line = await begin(dut)
    await types(line, screen(), b"Shall I\r")
    await host(line)
    # No silence yet: a key is a damaged frame.
    line.post(b"abc\0")
    assert (await line.frame()).kind == Event.ERROR
    line.received.clear()
    await silence(line)
    await types(line, screen(), b"compare\rthee to")
    await host(line)  # in the middle of a line, which is gone
    await silence(line)
    await types(line, screen(), b"a summer's\r\r\nday\n")
    line.post(b"\0")
    # All of a frame but its delimiter, then a silence: it is forgotten, not carried out.
    line.post(encode_frame(Command.RESET, 77)[:-1])
    await line.drained()
    await silence(line)
    line.received.clear()
    await types(line, screen(), b"x\rThou art\r")
    await host(line)
    # And with its delimiter behind the silence it is a frame.
    line.post(encode_frame(Command.INFO, 78)[:-1])
    await line.drained()
    await silence(line)
    line.post(b"\0")
    assert (await line.frame()).seq == 78


def after(seen: Screen, length: int, lines: int) -> tuple[bytes, Screen]:
    """What an answer and empty lines of this length together show, and the screen behind them."""
    seen = copy.deepcopy(seen)
    shown = seen.answer(max(0, length - lines))
    return shown + b"".join(seen.key(10) for _ in range(lines)), seen


@cocotb.test()
async def stops(dut: Any) -> None:
    """Any key ends an answer, at any moment; the conversation goes on from what was shown."""
    line, rng = await begin(dut), context.generator("stops")
    seen = screen()
    assert seen.request()[0] > 10_000
    for _ in range(context.parameters()["answers"]):
        echo = b"".join(seen.key(key, answered=False) for key in b"more\r")
        line.post(b"more\r")
        await shows(line, echo)
        await line.level(1, rng.choice((0.1, 1, 5, rng.randrange(1, 2000))))
        keys = rng.choice((b"\x03", b"q", b"\x7f", b"\r\n", b"\n" * 3))
        line.post(keys)
        await line.drained()
        before = -1
        while before != len(line.received):
            before = len(line.received)
            # The toy takes its time over a prompt, which a stop does not shorten.
            await line.level(1, 600 if line.received.endswith(b"\r\n") else 6000)
        got = bytes(line.received)
        line.received.clear()
        text = got[:-2].replace(b"\r\n", b"\n")  # every token of this alphabet is a character
        assert got.endswith(b"\r\n"), got
        seen.behind_cr = False
        # Of keys in a row the later ones may come behind the answer: empty lines.
        ways = [after(seen, len(text), lines) for lines in range(len(keys) if keys[0] == 10 else 1)]
        assert got in [shown for shown, _ in ways], (got, ways[0][0])
        seen = dict(reversed(ways))[got]
    line.post(b"\0")
    assert await Raw(line).status(Command.STOP) == Status.OK


@cocotb.test()
async def blank(dut: Any) -> None:
    """Without a model every key gives BEL, and settings without a count give a question mark."""
    line = await begin(dut)
    for key in b"a b\x08\x03":
        line.post(bytes((key,)))
        await shows(line, b"\a")
    line.post(b"\r\n\n")
    await shows(line, b"\r\n\r\n")
    await host(line)


@cocotb.test()
async def refused(dut: Any) -> None:
    line = await begin(dut)
    for _ in range(3):
        line.post(b"z\r")
        await shows(line, b"z\r\n?\r\n")
    await host(line)
