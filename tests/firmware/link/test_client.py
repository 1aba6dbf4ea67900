"""The host client against ports that fail, lie or fall silent."""

import errno
import os
import random
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import serial

from setun.firmware.errors import SetunError
from setun.firmware.link import (
    ChipClient,
    Command,
    FrameReader,
    encode_frame,
    open_port,
)
from setun.firmware.link.baud import divisor_for

Answer = Callable[[int, int, bytes], bytes]


class FakePort:
    """Answers each good frame at once by calling `answer(kind, seq, payload)`."""

    port = "/dev/fake"

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.reader = FrameReader()
        self.waiting = bytearray()
        self.timeout: float | None = None
        self.asked: list[tuple[int, int, bytes]] = []

    def write(self, data: bytes) -> int:
        for frame in self.reader.feed(data):
            self.asked.append((frame.kind, frame.seq, frame.payload))
            self.waiting += self.answer(frame.kind, frame.seq, frame.payload)
        return len(data)

    def read(self, size: int = 1) -> bytes:
        if not self.waiting:
            time.sleep(self.timeout or 0)
        data = bytes(self.waiting[:size])
        del self.waiting[:size]
        return data


def ok(kind: int, seq: int, payload: bytes) -> bytes:
    return encode_frame(kind | 0x80, seq, b"\0")


def client(answer: Answer, **options: float) -> tuple[ChipClient, FakePort]:
    port = FakePort(answer)
    settings = {"timeout": 0.02, "retries": 2, "patience": 0.1, **options}
    return ChipClient(port, **settings), port  # type: ignore[arg-type]


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(SetunError) as error:
        call()
    line = str(error.value)
    assert line and "\n" not in line
    return line


def test_silence_ends() -> None:
    chip, port = client(lambda *_: b"")
    line = refusal(chip.info)
    assert "/dev/fake" in line and "INFO" in line
    assert len(port.asked) == 3
    assert len({seq for _, seq, _ in port.asked}) == 1
    assert "WRITE" in refusal(lambda: chip.write(0, 0, [1] * 3200))


def test_garbage_only() -> None:
    chip, _ = client(lambda *_: bytes(range(256)) * 3)
    refusal(chip.counters)


@pytest.mark.parametrize(
    "failure",
    [
        serial.SerialException("device disconnected"),
        OSError(errno.EIO, "Input/output error"),
        TypeError("'NoneType' object cannot be interpreted as an integer"),
    ],
)
def test_port_vanishes(failure: Exception) -> None:
    class Broken(FakePort):
        def read(self, size: int = 1) -> bytes:
            raise failure

    chip = ChipClient(Broken(ok), timeout=0.02)
    assert "/dev/fake" in refusal(chip.info)

    class Mute(FakePort):
        def write(self, data: bytes) -> int:
            raise failure

    refusal(ChipClient(Mute(ok), timeout=0.02).reset)


def test_end_of_file() -> None:
    class Ended(FakePort):
        def read(self, size: int = 1) -> bytes:
            return b""

    started = time.monotonic()
    line = refusal(ChipClient(Ended(ok), timeout=5.0).info)
    assert "end of file" in line and time.monotonic() - started < 2


def test_port_that_takes_nothing() -> None:
    class Full(FakePort):
        def write(self, data: bytes) -> int:
            return 0

    refusal(ChipClient(Full(ok), timeout=0.02).info)


def test_statuses_become_words() -> None:
    for status, word in ((2, "bad argument"), (3, "unknown command"), (77, "status 77")):
        reply = bytes((status,))
        chip, _ = client(lambda kind, seq, _, reply=reply: encode_frame(kind | 0x80, seq, reply))
        assert word in refusal(chip.info)
        assert word in refusal(lambda chip=chip: chip.write(0, 0, [1, 2]))
    chip, _ = client(lambda kind, seq, _: encode_frame(kind | 0x80, seq, b"\1"))
    assert "busy" in refusal(chip.reset)
    assert "busy" in refusal(lambda: chip.prompt([1]))
    assert "busy" in refusal(lambda: chip.write(0, 0, [1]))


def test_arguments() -> None:
    chip, port = client(ok)
    for call in (
        lambda: chip.write(8, 0, [1]),
        lambda: chip.write(0, 0xFFFFFFFF, [1, 2]),
        lambda: chip.write(0, 0, [1 << 32]),
        lambda: chip.write(0, 0, [-1]),
        lambda: chip.write(0, 0, [0.5]),  # type: ignore[list-item]
        lambda: chip.read(-1, 0, 1),
        lambda: chip.read(0, 0, -1),
        lambda: chip.crc(0, -1, 1),
        lambda: chip.prompt([65536]),
        lambda: chip.generate(0, True, 0, 0),
        lambda: chip.generate(65536, True, 0, 0),
        lambda: chip.generate(1, True, 1 << 32, 0),
        lambda: chip.generate(1, True, 0, -1),
    ):
        refusal(call)
    assert not port.asked
    chip.write(0, 0, [])
    chip.prompt([])
    assert chip.crc(0, 0, 0) == 0 and not port.asked


def test_short_replies() -> None:
    chip, _ = client(ok)
    refusal(lambda: chip.read(0, 0, 4))
    refusal(lambda: chip.crc(0, 0, 4))
    refusal(lambda: chip.generate(1, True, 0, 0))


def test_lost_writes_are_sent_again() -> None:
    dropped: set[bytes] = set()
    stored: dict[int, bytes] = {}

    def forgetful(kind: int, seq: int, payload: bytes) -> bytes:
        address = int.from_bytes(payload[1:5], "little")
        if address % 96 == 0 and payload not in dropped:
            dropped.add(payload)
            return encode_frame(0xFF, 0, b"\1")
        stored[address] = payload[5:]
        return ok(kind, seq, payload)

    chip, port = client(forgetful, timeout=0.2)
    words = list(range(1000, 1000 + 800))
    chip.write(3, 0, words)
    assert b"".join(stored[a] for a in sorted(stored)) == struct.pack("<800I", *words)
    assert chip.transport.resent == len(dropped) == 9
    assert all(kind == Command.WRITE for kind, _, _ in port.asked)


@pytest.mark.parametrize("seed", range(4))
def test_a_flash_is_loaded_over_a_bad_line(seed: int) -> None:
    """Frames and replies get lost; a sector is erased when its first word comes, however often."""
    rng, sector, size = random.Random(seed), 64, 1000
    flash = [rng.getrandbits(32) for _ in range(1024)]

    def bad(kind: int, seq: int, payload: bytes) -> bytes:
        address = int.from_bytes(payload[1:5], "little")
        if rng.random() < 0.15:
            return encode_frame(0xFF, 0, b"\1")
        for at, (word,) in enumerate(struct.iter_unpack("<I", payload[5:]), address):
            if at % sector == 0:
                flash[at : at + sector] = [0xFFFFFFFF] * sector
            flash[at] &= word
        return b"" if rng.random() < 0.15 else ok(kind, seq, payload)

    chip, _ = client(bad, timeout=0.005, retries=20)
    words = [rng.getrandbits(32) for _ in range(size)]
    seen: list[int] = []
    chip.write(1, 0, words, lambda done, total: seen.append(done), sector=sector)
    assert flash[:size] == words
    assert seen == sorted(seen) and seen[-1] == size
    assert "multiple of 64" in refusal(lambda: chip.write(1, 32, words, sector=sector))


def events(*frames: tuple[int, int, bytes]) -> Answer:
    def answer(kind: int, seq: int, payload: bytes) -> bytes:
        if kind != Command.GENERATE:
            return ok(kind, seq, payload)
        reply = encode_frame(kind | 0x80, seq, b"\0\xff")
        return reply + b"".join(encode_frame(*frame) for frame in frames)

    return answer


DONE = struct.pack("<BHI", 0, 2, 99)


def test_tokens() -> None:
    good = [(0xC0, 255, b"\5\0"), (0xC0, 0, b"\6\1"), (0xC1, 1, DONE)]
    chip, _ = client(events((0xC1, 254, DONE), *good))
    assert list(chip.generate(2, True, 0, 0)) == [5, 262]
    assert chip.last_done is not None and chip.last_done.cycles == 99
    for bad in (
        [good[0], good[2]],
        [good[1], good[2]],
        [good[0], (0xC1, 0, DONE)],
        [good[0], good[1], (0xC1, 1, b"")],
        [(0xC0, 255, b"\5")],
    ):
        chip, _ = client(events(*bad))
        assert "token events" in refusal(lambda chip=chip: list(chip.generate(2, True, 0, 0)))
    chip, port = client(events(good[0]))
    assert "after 1 tokens" in refusal(lambda: list(chip.generate(2, True, 0, 0)))
    assert port.asked[-1][0] == Command.INFO


def test_prompt_splits_and_waits_for_room() -> None:
    room = [0]

    def queue(kind: int, seq: int, payload: bytes) -> bytes:
        room[0] += 10
        fits = len(payload) // 2 <= room[0]
        if fits:
            room[0] -= len(payload) // 2
        return encode_frame(kind | 0x80, seq, bytes((0 if fits else 1,)))

    chip, port = client(queue)
    chip.prompt(range(300))
    assert len(port.asked) > 5


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    master, slave = os.openpty()
    name = os.ttyname(slave)
    os.close(slave)
    yield master, name
    os.close(master)


def test_terminal(terminal: tuple[int, str]) -> None:
    """A real port object on a pseudo-terminal; then the other end goes away."""
    master, name = terminal
    far = os.dup(master)

    def chip_side() -> None:
        reader = FrameReader()
        for _ in range(2):
            frames = []
            while not frames:
                frames = reader.feed(os.read(far, 100))
            frame = frames[0]
            os.write(far, encode_frame(frame.kind | 0x80, frame.seq, b"\0\0\xff\x11\x13\r\n"))

    with open_port(name, 1_000_000) as port:
        # Not earlier: reading a terminal that nobody has open fails.
        thread = threading.Thread(target=chip_side, daemon=True)
        thread.start()
        chip = ChipClient(port)
        assert chip.info() == chip.info() == b"\0\xff\x11\x13\r\n"
        thread.join()
        os.close(far)
        replaced = os.open(os.devnull, os.O_RDWR)
        os.dup2(replaced, master)
        os.close(replaced)
        assert name in refusal(chip.info)


def test_open_port_refuses() -> None:
    for name, baud in (("/dev/null/none", 115200), ("/dev/no-such-port", 115200), ("x", 0)):
        refusal(lambda name=name, baud=baud: open_port(name, baud))
    assert "50000000" in refusal(lambda: open_port("/dev/null", 50_000_000))
    refusal(lambda: open_port("/dev/null", 115200))


def test_divisor() -> None:
    assert divisor_for(25e6, 1_000_000) == 25
    assert divisor_for(50e6, 115200) == 434
    assert "use" in refusal(lambda: divisor_for(25e6, 8_000_000))
    assert "off" in refusal(lambda: divisor_for(12e6, 2_200_000))
