"""The compiled link under fire: damaged frames by the thousand, a good one behind each volley."""

import random
import select
import struct
import time
from collections import Counter
from pathlib import Path

import pytest

from hw.link.bench_link import damaged
from hw.link.person import text_words
from hw.link.toy import COUNTERS, ToyChip
from setun.firmware.link import Command, ErrorCode, Event, FrameReader, Status, encode_frame
from setun.firmware.link.frames import Frame
from setun.hw.emit.conversion import to_verilog
from setun.sim.simulator import SimulatedChip, compile_chip

DIVISOR = 4
MARKER = [0x5E7 + k for k in range(4)]
READ = struct.pack("<BIB", 0, 0, 4)
TOP = "fuzzed"


def executable(contexts: int, terminal: bool) -> Path:
    chip = ToyChip(DIVISOR, contexts, text_words(9, 5) if terminal else ())
    return compile_chip(to_verilog(chip, TOP), TOP, DIVISOR)


class Wire:
    """Bytes to and from the chip's port, as fast as it takes them."""

    def __init__(self, port: str) -> None:
        self.file = Path(port).open("r+b", buffering=0)  # noqa: SIM115
        self.reader = FrameReader()
        self.frames: list[Frame] = []

    def exchange(self, data: bytes, seconds: float) -> None:
        """Send all and take what comes meanwhile; with nothing to send, what comes in a while."""
        end = time.monotonic() + seconds
        while data or time.monotonic() < end:
            wait = max(0.0, end - time.monotonic())
            readable, writable, _ = select.select(
                [self.file], [self.file] if data else [], [], wait
            )
            if readable:
                self.frames += self.reader.feed(self.file.read(65536) or b"")
                if not data and self.frames:
                    return
            if writable:
                sent = self.file.write(data[:2048])
                data = data[sent:]

    def until(self, kind: int, seq: int) -> list[Frame]:
        """Frames up to this reply, taken."""
        end = time.monotonic() + 300
        while True:
            for k, frame in enumerate(self.frames):
                if (frame.kind, frame.seq) == (kind, seq):
                    taken, self.frames = self.frames[: k + 1], self.frames[k + 1 :]
                    return taken
            assert time.monotonic() < end, f"no reply {kind:#x} {seq} behind {self.frames[-3:]}"
            self.exchange(b"", 1)

    def close(self) -> None:
        self.file.close()


def originals(rng: random.Random) -> bytes:
    """A good frame that would be seen if it came through: its number is never asked for."""
    choices: list[tuple[int, bytes]] = [
        (Command.WRITE, struct.pack("<BI2I", 0, 0, 1, 2)),
        (Command.READ, struct.pack("<BIB", 0, 0, 1)),
        (Command.CRC, struct.pack("<BII", 0, 0, 9)),
        (Command.COUNTERS, b""),
    ]
    contexts: list[tuple[int, bytes]] = [
        (Command.PROMPT, struct.pack("<3H", 4, 5, 6)),
        (Command.PROMPT, rng.randbytes(128)),
        (Command.GENERATE, struct.pack("<HBII", 4, 0, 1, 2)),
        (Command.RESET, b""),
        (Command.STOP, b""),
    ]
    if rng.random() < 0.3:
        kind, payload = rng.choice(choices)
    else:
        kind, payload = rng.choice(contexts)
        kind |= rng.randrange(4) << 4
    return encode_frame(kind, 0, payload)


def volley(rng: random.Random) -> tuple[bytes, int]:
    """Some damaged frames, and how many."""
    wire, count = b"", 0
    for _ in range(rng.randrange(1, 12)):
        original = originals(rng)
        spoilt = damaged(rng, original)
        if original.strip(b"\0") not in spoilt.split(b"\0"):  # else it is whole
            wire += spoilt
            count += 1
    return wire, count


def fire(frames: int, seed: int, contexts: int, terminal: bool) -> Counter[str]:
    """So many damaged frames; each volley is followed by a READ that must be answered."""
    rng, seen = random.Random(seed), Counter[str]()
    print(f"{frames} frames, seed {seed}, {contexts} contexts, terminal {terminal}")
    with SimulatedChip(executable(contexts, terminal)) as chip:
        wire = Wire(chip.port)
        write = struct.pack("<BI4I", 0, 0, *MARKER)
        wire.exchange(b"\0" + encode_frame(Command.WRITE, 1, write), 0)
        assert wire.until(0x80 | Command.WRITE, 1)[-1].payload == bytes((Status.OK,))
        sent, seq = 0, 1
        while sent < frames:
            batch, due = b"", []
            for _ in range(20):
                spoilt, count = volley(rng)
                seq = seq % 255 + 1
                batch += spoilt + b"\0" + encode_frame(Command.READ, seq, READ)
                due.append(seq)
                sent += count
                if rng.random() < 0.05:  # late bytes: somewhere in there the wire stands still
                    cut = rng.randrange(len(batch))
                    wire.exchange(batch[:cut], rng.random() * 0.01)
                    batch = batch[cut:]
            wire.exchange(batch, 0)
            for number in due:
                *before, reply = wire.until(0x80 | Command.READ, number)
                for event in before:
                    assert event.kind == Event.ERROR and event.seq == 0, event
                    seen[ErrorCode(event.payload[0]).name] += 1
                words = struct.unpack("<4I", reply.payload[1:])
                assert (reply.payload[0], list(words)) == (Status.OK, MARKER), (sent, reply)
                seen["good"] += 1
        wire.exchange(encode_frame(Command.COUNTERS, 1), 0)
        answer = wire.until(0x80 | Command.COUNTERS, 1)[-1].payload
        assert answer == bytes(1 + 4 * COUNTERS), "a damaged frame was executed"
        assert not wire.reader.refused and not chip.framing_errors()
        wire.close()
    seen["damaged"] = sent
    print(dict(seen))
    return seen


def test_fuzz() -> None:
    seen = fire(2_000, 21, 1, terminal=True)
    assert {code.name for code in ErrorCode} - {"UART", "OVERLONG", "NO_ROOM"} <= seen.keys()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("contexts", "terminal", "seed"), [(1, True, 22), (4, False, 23)])
def test_fuzz_long(contexts: int, terminal: bool, seed: int) -> None:
    assert fire(100_000, seed, contexts, terminal)["damaged"] >= 100_000
