"""Cocotb benches of the whole link through its UART pins."""

import random
import struct
import zlib
from typing import Any

import cocotb
import numpy as np
from cocotb.task import bridge

from bench import context
from hw.link.line import Line, SimulatedPort
from hw.link.raw import Raw, begin
from hw.link.toy import COUNTERS, INFO, PLACES, QUEUE, ToyModel, ends_with
from setun.firmware.link import ChipClient, Command, ErrorCode, Event, Reason, Status, encode_frame
from setun.firmware.link.frames import cobs_encode
from setun.firmware.link.port import Port


def every_method(port: Port, rng: np.random.Generator) -> None:
    """Every method of the host client, against the model."""
    chip = ChipClient(port, timeout=2.0)
    model = ToyModel()
    assert chip.info() == INFO
    words = rng.integers(0, 1 << 32, 110, dtype=np.uint32)
    seen = []
    chip.write(1, 7, words, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (110, 110)
    assert np.array_equal(chip.read(1, 7, 110), words)
    assert chip.crc(1, 7, 110) == zlib.crc32(words.astype("<u4").tobytes())
    assert chip.transport.resent == 0
    for greedy in (True, False):
        tokens = [int(t) for t in rng.integers(0, 1 << 16, 100)]
        chip.prompt(tokens)
        model.prompt(tokens)
        asked = (20, greedy, int(rng.integers(1 << 18)), int(rng.integers(1 << 32)))
        assert list(chip.generate(*asked)) == model.generate(*asked)
        assert chip.last_done is not None and chip.last_done.reason == 0
        assert 20 <= chip.last_done.cycles
    texts = set()
    for _ in range(6):
        asked = (30, False, int(rng.integers(1 << 18)), int(rng.integers(1 << 32)))
        ends = [int(t) for t in rng.integers(0, 1 << 16, PLACES)]
        expected = model.generate(*asked, ends)
        assert list(chip.generate(*asked, ends=ends)) == expected
        whole = not any(ends_with(expected[-1], end) for end in ends)
        assert chip.last_done.reason == (Reason.COUNT if whole else Reason.END_OF_TEXT)
        assert chip.last_done.tokens == len(expected) and chip.knows_ends
        texts.add(whole)
        # The next one heeds none, though the chip still knows them.
        assert list(chip.generate(*asked)) == model.generate(*asked)
    assert False in texts
    sampled = chip.counters()[3]
    # A number of tokens that the chip has no room for: it goes on.
    assert list(chip.generate(4, True, 0, 0, ends=[1])) == model.generate(4, True, 0, 0)
    assert not chip.knows_ends
    assert chip.counters()[3] == sampled + 4
    chip.reset()
    model.state = 0
    iterator = chip.generate(65535, True, 1, 2)
    first = [next(iterator) for _ in range(5)]
    chip.stop()
    rest = list(iterator)
    expected = model.generate(5 + len(rest), True, 1, 2)
    assert first + rest == expected
    assert chip.last_done.reason == 1 and chip.last_done.tokens == len(expected)
    counters = chip.counters()
    assert counters == [1, 1, 200, 44 + sampled - 40 + len(expected), 16, 0]
    assert len(counters) == COUNTERS


@cocotb.test()
async def client(dut: Any) -> None:
    """Every method of the host client over the wires."""
    line = await begin(dut)
    port = SimulatedPort(line)
    await bridge(every_method)(port, np.random.default_rng(context.seed()))
    assert not line.reader.refused


@cocotb.test()
async def noisy_client(dut: Any) -> None:
    """The client gets everything done, exactly once, over a line that spoils frames both ways."""
    line = await begin(dut)
    port = SimulatedPort(line)
    rng = random.Random(context.seed())

    def spoil(rate: float) -> Any:
        def change(data: bytes) -> bytes:
            out = bytearray()
            for byte in data:
                if rng.random() < rate:
                    choice = rng.randrange(3)
                    if choice == 0:
                        continue
                    byte = rng.randrange(256) if choice == 1 else byte ^ 1 << rng.randrange(8)
                out.append(byte)
            return bytes(out)

        return change

    def session() -> None:
        chip = ChipClient(port, timeout=0.4, retries=12)
        models = [ToyModel() for _ in range(context.parameters()["contexts"])]
        port.spoil = {"out": spoil(0.002), "in": spoil(0.004)}
        words = np.arange(256, dtype=np.uint32) * 0x01010101
        chip.write(0, 0, words)
        assert np.array_equal(chip.read(0, 0, 256), words)
        port.spoil = {"out": spoil(0.002), "in": spoil(0.03)}
        total = 0
        for _ in range(20):
            tokens = [rng.randrange(1 << 16) for _ in range(rng.randrange(1, 40))]
            whose = rng.randrange(len(models))
            chip.prompt(tokens, whose)
            models[whose].prompt(tokens)
            total += len(tokens)
        # Events are not repeated, so they need the clean line.
        port.spoil = {}
        asked = (20, False, 77, 0x12345678)
        iterators = [chip.generate(*asked, whose) for whose in range(len(models))]
        assert [list(each) for each in iterators] == [each.generate(*asked) for each in models]
        counters = chip.counters()
        assert counters[2] == total and counters[5] == 0
        assert chip.transport.resent > 0

    await bridge(session)()


@cocotb.test()
async def statuses(dut: Any) -> None:
    """Refusals by argument, by state, by type; repeats; the order of events."""
    raw = Raw(await begin(dut))
    place = struct.pack("<BI", 0, 0)
    bad = [
        (Command.INFO, b"x"),
        (Command.STOP, b"x"),
        (Command.RESET, b"x"),
        (Command.COUNTERS, b"x"),
        (Command.WRITE, b""),
        (Command.WRITE, place),
        (Command.WRITE, place + bytes(3)),
        (Command.WRITE, place + bytes(132)),
        (Command.WRITE, b"\x08" + place[1:] + bytes(8)),
        (Command.READ, place),
        (Command.READ, place + b"\0"),
        (Command.READ, place + b"\x21"),
        (Command.READ, b"\x08" + place[1:] + b"\x01"),
        (Command.CRC, place + struct.pack("<I", 0)),
        (Command.CRC, place + struct.pack("<I", 0x10000)),
        (Command.CRC, b"\xff" + place[1:] + struct.pack("<I", 1)),
        (Command.PROMPT, b""),
        (Command.PROMPT, b"abc"),
        (Command.PROMPT, bytes(130)),
        (Command.GENERATE, bytes(11)),
        (Command.GENERATE, bytes(12) + b"\x01" + bytes(10)),
        (Command.GENERATE, b"\x01\x00\x02" + bytes(8)),
        (Command.GENERATE, b"\x01\x00\x01" + bytes(7)),
    ]
    for kind, payload in bad:
        assert await raw.status(kind, payload) == Status.BAD_ARGUMENT, (kind, payload)
    for kind in (0x00, 0x0A, 0x10, 0x1A, 0x45, 0x41, 0x81, 0xC0, 0xFF):
        assert await raw.status(kind, bytes(kind % 7)) == Status.UNKNOWN_COMMAND, kind
    words = struct.pack("<II", 1, 0xFFFFFFFF)
    assert await raw.status(Command.WRITE, place + words) == Status.OK
    reply = await raw.ask(Command.READ, place + b"\x02")
    assert reply.payload == b"\0" + words

    # A PROMPT or GENERATE sent twice under one number runs once.
    counters = struct.Struct(f"<B{COUNTERS}I")
    model = ToyModel()
    prompt = struct.pack("<3H", 1, 2, 3)
    for _ in range(3):
        assert await raw.status(Command.PROMPT, prompt, seq=200) == Status.OK
    model.prompt([1, 2, 3])
    assert counters.unpack((await raw.ask(Command.COUNTERS)).payload)[3] == 3
    assert await raw.status(Command.PROMPT, prompt, seq=200) == Status.OK
    model.prompt([1, 2, 3])
    assert counters.unpack((await raw.ask(Command.COUNTERS)).payload)[3] == 6
    big = struct.pack("<64H", *range(64))
    assert QUEUE < 2 * 64
    taken = 0
    for _ in range(4):
        taken += await raw.status(Command.PROMPT, big) == Status.OK
    model.prompt(list(range(64)) * taken)

    ask = struct.pack("<HBII", 0xFFFF, 0, 5, 6)
    first = await raw.ask(Command.GENERATE, ask, seq=9)
    assert first.payload == b"\0\0"
    assert (await raw.ask(Command.GENERATE, ask, seq=9)).payload == first.payload
    for kind, payload in [
        (Command.GENERATE, ask),
        (Command.PROMPT, prompt),
        (Command.WRITE, place + words),
        (Command.READ, place + b"\x02"),
        (Command.CRC, place + struct.pack("<I", 1)),
        (Command.RESET, b""),
    ]:
        assert await raw.status(kind, payload) == Status.BUSY, kind
    assert await raw.status(Command.INFO) == Status.OK
    assert await raw.status(Command.COUNTERS) == Status.OK
    assert await raw.status(Command.STOP) == Status.OK
    events = []
    while not events or events[-1].kind != Event.DONE:
        events.append(await raw.line.frame())
    tokens = [int.from_bytes(event.payload, "little") for event in events[:-1]]
    assert [event.seq for event in events] == [n & 0xFF for n in range(len(events))]
    assert tokens == model.generate(len(tokens), False, 5, 6)
    assert struct.unpack("<BHI", events[-1].payload)[:2] == (1, len(tokens))

    # A STOP before the first token: the prompt is consumed, then the generation ends.
    raw.line.post(
        encode_frame(Command.PROMPT, 49, big)
        + encode_frame(Command.GENERATE, 50, ask)
        + encode_frame(Command.STOP, 51)
    )
    kinds = []
    while Event.DONE not in kinds:
        kinds.append((frame := await raw.line.frame()).kind)
    assert kinds == [
        *(0x80 | kind for kind in (Command.PROMPT, Command.GENERATE, Command.STOP)),
        Event.DONE,
    ]
    assert struct.unpack("<BHI", frame.payload)[:2] == (1, 0)
    model.prompt(list(range(64)))
    assert await raw.status(Command.GENERATE, struct.pack("<HBII", 1, 0, 5, 6)) == Status.OK
    token, _ = await raw.until_done(0)
    assert int.from_bytes(token.payload, "little") == model.generate(1, False, 5, 6)[0]
    assert await raw.status(Command.RESET) == Status.OK
    assert counters.unpack((await raw.ask(Command.COUNTERS)).payload)[6] == 0


@cocotb.test()
async def refusals(dut: Any) -> None:
    """Each kind of damage gives its own code, and the next good frame works."""
    line = await begin(dut)
    raw = Raw(line)
    good = encode_frame(Command.INFO, 3)
    body = bytes((Command.INFO, 3))
    cases = [
        (good[:2] + bytes((good[2] ^ 4,)) + good[3:], ErrorCode.BAD_CRC),
        (b"\x09ab\0", ErrorCode.BAD_COBS),
        (cobs_encode(bytes(range(1, 248))) + b"\0", ErrorCode.OVERLONG),
        (cobs_encode(bytes(3000)) + b"\0", ErrorCode.OVERLONG),
        (cobs_encode(b"abcde") + b"\0", ErrorCode.TOO_SHORT),
        (cobs_encode(body + zlib.crc32(body).to_bytes(4, "big")) + b"\0", ErrorCode.BAD_CRC),
    ]
    for wire, code in cases:
        line.post(wire)
        frame = await line.frame(60_000)
        assert (frame.kind, frame.seq, frame.payload) == (Event.ERROR, 0, bytes((code,))), code
        assert (await raw.ask(Command.INFO)).payload == b"\0" + INFO
    # A break, then a byte without stop bit inside a frame.
    await line.level(0, 30)
    await line.level(1, 12)
    line.post(b"\0")
    assert (await line.frame()).payload == bytes((ErrorCode.UART,))
    line.post(good[:3])
    await line.drained()
    await line.level(0, 10.5)
    await line.level(1, 2)
    line.post(good[4:])
    assert (await line.frame()).payload == bytes((ErrorCode.UART,))
    # A glitch shorter than half a bit, and idle delimiters, are nothing.
    await line.level(0, 0.25)
    await line.level(1, 2)
    line.post(bytes(20))
    await line.drained()
    assert await raw.status(Command.INFO) == Status.OK
    assert not line.frames

    # More frames than fit while the line to the host is busy with their long replies: what was
    # taken is answered in order, the rest is reported.
    count = 160
    ask = struct.pack("<BIB", 0, 0, 16)
    for seq in range(count):
        line.post(encode_frame(Command.READ, seq, ask))
    await line.drained()
    answered, codes = [], set()
    await raw_until(line, Command.COUNTERS, answered, codes)
    assert answered == sorted(answered) and 100 < len(answered) < count
    assert codes == {ErrorCode.NO_ROOM}


async def raw_until(line: Line, last: int, answered: list[int], codes: set[int]) -> None:
    """Ask `last` until it is answered; collect what comes before."""
    while True:
        line.post(encode_frame(last, 0))
        await line.drained()
        while True:
            try:
                frame = await line.frame(1000)
            except AssertionError:
                break
            if frame.kind == Event.ERROR:
                codes.add(frame.payload[0])
            elif frame.kind == 0x80 | last:
                return
            else:
                answered.append(frame.seq)


def damaged(rng: random.Random, wire: bytes) -> bytes:
    """One frame, spoiled by flips, losses, doublings, insertions, or all random."""
    out = bytearray(wire)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        place = rng.randrange(len(out)) if out else 0
        choice = rng.randrange(6)
        if choice == 0 and out:
            out[place] ^= 1 << rng.randrange(8)
        elif choice == 1 and out:
            del out[place : place + rng.choice((1, 1, 2, 4))]
        elif choice == 2:
            out[place:place] = out[place : place + rng.choice((1, 1, 2, 4))]
        elif choice == 3:
            out[place:place] = rng.randbytes(rng.randrange(1, 5))
        elif choice == 4 and out:
            out[place] = rng.randrange(256)
        else:
            out = bytearray(rng.randbytes(rng.randrange(1, 20)))
    return bytes(out)


@cocotb.test()
async def fuzz(dut: Any) -> None:
    """Damaged frames change nothing; good ones between them are all answered."""
    line = await begin(dut)
    rng = random.Random(context.seed())
    frames = context.parameters()["frames"]
    marker = struct.pack("<BI4I", 0, 0, *(0x5E7 + i for i in range(4)))
    line.post(encode_frame(Command.WRITE, 0, marker))
    assert (await line.frame()).payload == b"\0"
    plain = [
        encode_frame(Command.WRITE, 7, struct.pack("<BI2I", 0, 0, 1, 2)),
        encode_frame(Command.READ, 7, struct.pack("<BIB", 0, 0, 1)),
    ]
    of_context = [
        (Command.PROMPT, struct.pack("<3H", 4, 5, 6)),
        (Command.GENERATE, struct.pack("<HBII", 4, 0, 1, 2)),
        (Command.RESET, b""),
        (Command.STOP, b""),
    ]
    sent = 0
    while sent < frames:
        for _ in range(rng.randrange(1, 12)):
            kind, payload = rng.choice(of_context)
            original = encode_frame(kind | rng.randrange(4) << 4, 7, payload)
            original = rng.choice([*plain, original, original, original])
            wire = damaged(rng, original)
            # A doubled delimiter is no damage.
            if original.strip(b"\0") not in wire.split(b"\0"):
                line.post(wire)
                sent += 1
            if rng.random() < 0.05:
                await line.drained()
                await line.level(0, rng.uniform(0.1, 15))
                await line.level(1, 11)
        seq = rng.randrange(1, 256)
        line.post(b"\0" + encode_frame(Command.READ, seq, struct.pack("<BIB", 0, 0, 4)))
        while True:
            frame = await line.frame()
            if frame.kind != Event.ERROR:
                break
            assert frame.payload[0] in list(ErrorCode), frame
        assert (frame.kind, frame.seq) == (0x80 | Command.READ, seq), (sent, frame)
        assert frame.payload[1:] == marker[5:], (sent, frame)
    cocotb.log.info("%d damaged frames", sent)
    line.post(encode_frame(Command.COUNTERS, 1))
    while (frame := await line.frame()).kind == Event.ERROR:
        pass
    assert frame.payload == bytes(1 + 4 * COUNTERS), "a damaged frame was executed"
    assert not line.reader.refused
