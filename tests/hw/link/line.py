"""The two wires of a UART in a cocotb bench, bit by bit, and a port for the host client on them."""

import time
from collections.abc import Iterable
from typing import Any

import cocotb
from cocotb.queue import Queue
from cocotb.task import resume
from cocotb.triggers import Event, FallingEdge, First, Timer

from setun.firmware.link.frames import Frame, FrameReader

PERIOD_NS = 10


class Line:
    """Sends levels on `rx`, collects bytes from `tx`.

    `rate` is how much faster than nominal the sender's clock runs.

    Attributes
    ----------
    frames
        Good frames received and not yet taken.
    reader
        Counts damaged frames.
    """

    def __init__(self, dut: Any, divisor: int, rate: float = 1.0) -> None:
        self._dut = dut
        self._bit_ns = divisor * PERIOD_NS
        self._sent_ps = round(1000 * self._bit_ns / rate)
        self._queue: Queue[bytes] = Queue()
        self._idle = Event()
        self._news = Event()
        self._half = Timer(self._bit_ns // 2, "ns")
        self._bit = Timer(self._bit_ns, "ns")
        self.received = bytearray()
        self.reader = FrameReader()
        self.frames: list[Frame] = []
        dut.rx.value = 1
        cocotb.start_soon(self._listen())
        cocotb.start_soon(self._send())

    async def level(self, value: int, bits: float) -> None:
        """Hold `rx` for a time in bits."""
        self._dut.rx.value = value
        await Timer(round(bits * self._sent_ps), "ps")

    async def _byte(self, value: int) -> None:
        levels = value << 1 | 0x200
        current, length = 0, 0
        for bit in range(10):
            level = levels >> bit & 1
            if level != current:
                await self.level(current, length)
                current, length = level, 0
            length += 1
        await self.level(current, length)

    async def _send(self) -> None:
        while True:
            if self._queue.empty():
                self._idle.set()
            for value in await self._queue.get():
                await self._byte(value)

    def post(self, data: Iterable[int]) -> None:
        """Queue bytes to send."""
        self._idle.clear()
        self._queue.put_nowait(bytes(data))

    async def drained(self) -> None:
        """Wait until all queued bytes are sent."""
        await self._idle.wait()

    async def _listen(self) -> None:
        tx = self._dut.tx
        fall = FallingEdge(tx)
        while True:
            await fall
            await self._half
            value = 0
            for bit in range(8):
                await self._bit
                value |= int(tx.value) << bit
            await self._bit
            assert tx.value, "stop bit"
            self.received.append(value)
            self.frames += self.reader.feed(bytes((value,)))
            self._news.set()

    async def news(self, wait_ns: int) -> bool:
        """Wait for a received byte; false when none came in time."""
        self._news.clear()
        event = self._news.wait()
        return await First(event, Timer(wait_ns, "ns")) is not None and self._news.is_set()

    async def frame(self, bits: int = 4000) -> Frame:
        """The next good frame; AssertionError when none comes in a time in bits."""
        end = bits
        while not self.frames:
            assert end > 0, f"no frame within {bits} bits"
            if not await self.news(100 * self._bit_ns):
                end -= 100
        return self.frames.pop(0)


class SimulatedPort:
    """The port of `ChipClient`, for a client that runs in `cocotb.task.bridge`.

    `spoil` may change bytes on their way, by direction ("out", "in").
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self.timeout: float | None = None
        self.spoil: dict[str, Any] = {}

    @property
    def in_waiting(self) -> int:
        return len(self._line.received)

    def _spoiled(self, direction: str, data: bytes) -> bytes:
        spoil = self.spoil.get(direction)
        return spoil(data) if spoil else data

    def write(self, b: bytes, /) -> int:
        self._line.post(self._spoiled("out", b))
        return len(b)

    def read(self, size: int = 1, /) -> bytes:
        wait = resume(self._line.news)
        end = time.monotonic() + (self.timeout or 0)
        while not self._line.received:
            wait(20_000)
            if time.monotonic() > end and not self._line.received:
                return b""
        data = bytes(self._line.received[:size])
        del self._line.received[:size]
        return self._spoiled("in", data)
