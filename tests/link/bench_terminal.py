"""Cocotb benches of the terminal in the link: a person, a host, and both in turn."""

from typing import Any

import cocotb
from bench import context

from link.line import Line
from link.person import ENDS, Screen
from link.raw import begin
from link.toy import ToyModel
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
    await line.level(1, SILENCE * 20)


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
        for byte in bytes(keys) + rng.choice(ENDS):
            expected = seen.key(byte)
            line.post(bytes((byte,)))
            await shows(line, expected)
        await silent(line)
    assert not line.frames
