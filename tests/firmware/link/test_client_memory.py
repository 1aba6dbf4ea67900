"""Memories over the client: what is written is summed behind it, and the line is kept busy."""

import struct
import zlib

import numpy as np
import pytest

from firmware.link.test_client import FakePort, client, ok
from setun.firmware.link import ChipClient, Command, encode_frame


class Memory:
    """What a chip keeps; words of `damaged` read back otherwise."""

    def __init__(self, damaged: int | None = None) -> None:
        self.held = np.zeros(1 << 14, "<u4")
        self.damaged = damaged

    def __call__(self, kind: int, seq: int, payload: bytes) -> bytes:
        address = int.from_bytes(payload[1:5], "little")
        if kind == Command.WRITE:
            self.held[address : address + len(payload[5:]) // 4] = np.frombuffer(payload[5:], "<u4")
            if self.damaged is not None:
                self.held[self.damaged] = 0
            return ok(kind, seq, payload)
        count = int.from_bytes(payload[5:9], "little")
        value = zlib.crc32(self.held[address : address + count].tobytes())
        return encode_frame(kind | 0x80, seq, b"\0" + value.to_bytes(4, "little"))


def test_what_is_written_is_summed_behind_it() -> None:
    """Nine tenths of what goes over the line are the words, with the CRC of all of them."""
    memory = Memory()
    chip, port = client(memory)
    sent: list[int] = []
    write = port.write
    port.write = lambda data: sent.append(len(data)) or write(data)  # type: ignore[method-assign]
    words = np.random.default_rng(1).integers(0, 1 << 32, 10_000).astype(np.uint32)
    assert chip.write(1, 300, words, summed=True) == []
    np.testing.assert_array_equal(memory.held[300 : 300 + len(words)], words)
    sums = [struct.unpack("<BII", payload) for kind, _, payload in port.asked if kind == 4]
    assert [count for _, _, count in sums] == [2048] * 4 + [10_000 - 4 * 2048]
    assert [address for _, address, _ in sums] == [300 + 2048 * k for k in range(5)]
    assert 4 * len(words) / sum(sent) >= 0.904


@pytest.mark.parametrize("sector", [0, 1024])
def test_what_reads_back_otherwise_is_told(sector: int) -> None:
    chip, _ = client(Memory(damaged=2048 + 77))
    words = list(range(6000))
    assert chip.write(1, 0, words, sector=sector, summed=True) == [(2048, 2048)]


def test_a_write_that_is_sent_again_behind_its_sum_is_told() -> None:
    memory, lost = Memory(), []

    def forgetful(kind: int, seq: int, payload: bytes) -> bytes:
        if kind == Command.WRITE and payload[1:5] == (2048 - 32).to_bytes(4, "little") and not lost:
            lost.append(payload)
            return b""
        return memory(kind, seq, payload)

    chip, _ = client(forgetful)
    words = np.arange(4096, dtype=np.uint32)
    assert chip.write(1, 0, words, summed=True) == [(0, 2048)]
    assert len(lost) == chip.transport.resent == 1
    assert chip.crc(1, 0, 4096) == zlib.crc32(words.tobytes())


def test_the_chip_has_room_for_what_comes_during_a_sum() -> None:
    """Answers are slow: all that may be sent is. Behind a CRC that is what the chip can hold."""
    memory, most = Memory(), {Command.WRITE: 0, Command.CRC: 0}

    class Slow(FakePort):
        def write(self, data: bytes) -> int:
            for frame in self.reader.feed(data):
                self.asked.append((frame.kind, frame.seq, frame.payload))
            kinds = [kind for kind, _, _ in self.asked]
            most[Command.WRITE] = max(most[Command.WRITE], len(kinds))
            if Command.CRC in kinds:
                behind = kinds[kinds.index(Command.CRC) + 1 :]
                assert Command.CRC not in behind
                most[Command.CRC] = max(most[Command.CRC], len(behind))
            return len(data)

        def read(self, size: int = 1) -> bytes:
            if not self.waiting and self.asked:
                self.waiting += memory(*self.asked.pop(0))
            return super().read(size)

    chip = ChipClient(Slow(ok), timeout=1.0)
    words = list(range(9000))
    assert chip.write(1, 0, words, summed=True) == []
    assert memory.held[:9000].tolist() == words
    assert most == {Command.WRITE: 16, Command.CRC: 7}
    assert chip.transport.resent == 0
