"""The host client: one method per command, for a board and for the simulated chip alike."""

import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError
from setun.firmware.link.crc import crc32_combine
from setun.firmware.link.frames import Frame
from setun.firmware.link.messages import (
    CONTEXT,
    MAX_CONTEXTS,
    MAX_WORDS,
    SPACES,
    TOKEN_BYTES,
    Command,
    Done,
    Event,
    Status,
    prompt_tokens,
)
from setun.firmware.link.port import Port
from setun.firmware.link.transport import Transport

WRITE_WINDOW = 16
FLASH_WINDOW = 7  # frames that fit the chip's frame memory while a flash is busy
READ_WINDOW = 4
CRC_WORDS = 0x4000
STALE_EVENTS = 16
BUSY_PAUSE = 0.002
WAIT_SLICE = 0.1

Progress = Callable[[int, int], None]


class ChipClient:
    """Drive a chip over its link. Not thread safe.

    Parameters
    ----------
    port
        Open port (`open_port`, or anything with `read`, `write` and `timeout`).
    timeout
        Seconds without an answer until a request is repeated.
    retries
        Repeats of a request before the chip is given up.
    patience
        Seconds that a busy chip may stay busy, and that a generation may take per token.

    Attributes
    ----------
    last_done
        End report of the latest finished generation.
    knows_ends
        Whether the chip takes tokens that end a text; found out when some are given.
    token_bits
        Of the chip's tokens, 16 unless it is set from what `info` says.
    transport
        Counters of resent and refused frames.

    Errors
    ------
    Every method raises SetunError: port gone, no answer, busy beyond patience, argument refused.
    """

    def __init__(
        self, port: Port, *, timeout: float = 2.0, retries: int = 5, patience: float = 60.0
    ) -> None:
        self.transport = Transport(port, timeout, retries)
        self.last_done: Done | None = None
        self.knows_ends = True
        self.token_bits = 16
        self._timeout = timeout
        self._patience = patience

    @property
    def longest_prompt(self) -> int:
        """Tokens in one PROMPT."""
        return prompt_tokens(TOKEN_BYTES[self.token_bits])

    def info(self) -> bytes:
        """Configuration record of the chip, verbatim."""
        return self._command(Command.INFO)

    def write(
        self,
        space: int,
        address: int,
        words: NDArray[np.uint32] | Sequence[int],
        progress: Progress | None = None,
        *,
        sector: int = 0,
    ) -> None:
        """Store 32-bit words at `address` (in words) and up; `progress(done, total)` in words.

        `sector` is how many words of a flash are erased when the first of them is written, 0 in
        RAM. That frame is alone under way: sent again behind others it would erase their words.
        """
        data = _words(words)
        total = len(data)
        _check_range(space, address, total)
        runs = [(range(0, total, MAX_WORDS), WRITE_WINDOW)]
        if sector:
            if address % sector:
                raise SetunError("flash", f"is written from a multiple of {sector} words", address)
            runs = []
            for start in range(0, total, sector):
                frames = range(start, min(start + sector, total), MAX_WORDS)
                runs += [(frames[:1], 1), (frames[1:], FLASH_WINDOW)]

        def requests(starts: range) -> Iterator[tuple[Command, bytes]]:
            for start in starts:
                head = struct.pack("<BI", space, address + start)
                yield Command.WRITE, head + data[start : start + MAX_WORDS].tobytes()

        done = 0
        for starts, window in runs:
            for index, _ in self._pipeline(requests(starts), window):
                done += min(MAX_WORDS, total - starts[index])
                if progress:
                    progress(done, total)

    def read(self, space: int, address: int, count: int) -> NDArray[np.uint32]:
        """`count` 32-bit words from `address` (in words) and up."""
        _check_range(space, address, count)
        sizes = [min(MAX_WORDS, count - start) for start in range(0, count, MAX_WORDS)]

        def requests() -> Iterator[tuple[Command, bytes]]:
            for index, size in enumerate(sizes):
                yield Command.READ, struct.pack("<BIB", space, address + index * MAX_WORDS, size)

        out = np.zeros(count, dtype="<u4")
        for index, data in self._pipeline(requests(), READ_WINDOW):
            start = index * MAX_WORDS
            out[start : start + sizes[index]] = np.frombuffer(
                _sized(Command.READ, data, 4 * sizes[index]), dtype="<u4"
            )
        return out.astype(np.uint32)

    def crc(self, space: int, address: int, count: int) -> int:
        """zlib.crc32 of `count` words (little endian bytes) as the chip reads them back."""
        _check_range(space, address, count)
        value = 0
        for start in range(0, count, CRC_WORDS):
            size = min(CRC_WORDS, count - start)
            data = self._command(Command.CRC, struct.pack("<BII", space, address + start, size))
            (part,) = struct.unpack("<I", _sized(Command.CRC, data, 4))
            value = crc32_combine(value, part, 4 * size)
        return value

    def reset(self, context: int = 0) -> None:
        """Clear a context's recurrent state."""
        self._command(_of(Command.RESET, context))

    def prompt(self, tokens: Sequence[int], context: int = 0) -> None:
        """Feed tokens to a context; waits while the chip's queue is full."""
        most = (1 << self.token_bits) - 1
        for token in tokens:
            if not 0 <= token <= most:
                raise SetunError("prompt", f"token ids from 0 to {most}", token)
        start, size = 0, self.longest_prompt
        deadline = time.monotonic() + self._patience
        while start < len(tokens):
            if not self.offer(part := tokens[start : start + size], context):
                self._still_busy(Command.PROMPT, deadline)
                # A queue smaller than the frame never has room for all of it.
                size = max(1, size // 2)
                continue
            start += len(part)
            size = min(2 * size, self.longest_prompt)
            deadline = time.monotonic() + self._patience

    def offer(self, tokens: Sequence[int], context: int = 0) -> bool:
        """Feed up to `longest_prompt` tokens; false, and none is taken, without room for all."""
        status, _ = self._try(_of(Command.PROMPT, context), self._packed(tokens))
        return status != Status.BUSY and _check_status(Command.PROMPT, status)

    def generate(
        self,
        count: int,
        greedy: bool,
        inv_temperature_bits: int,
        seed: int,
        context: int = 0,
        waiting: Callable[[], None] = lambda: None,
        ends: Sequence[int] = (),
    ) -> Iterator[int]:
        """Start a generation at once; the iterator gives tokens as they come, until DONE.

        Generations of several contexts may be under way, their iterators used in any order. When
        a context's next one begins, the iterator of the one before gives no more than came by then.

        Parameters
        ----------
        count
            Tokens to sample, 1–65535.
        greedy
            Argmax instead of sampling; temperature and seed are then ignored.
        inv_temperature_bits
            1/T in the chip's vector format, as an integer of its bits.
        seed
            Of the context's noise generator, 32 bits.
        context
            Whose state goes on, 0–3.
        waiting
            Called every tenth of a second and more often while a token is awaited; may `stop`.
        ends
            Tokens that end the text, none or as many as the chip's core knows. A chip of before
            knows none: `knows_ends` is false then, and the generation goes on behind them.
        """
        limits = {
            "count": (count, 1, 0xFFFF),
            "inverse temperature": (inv_temperature_bits, 0, 0xFFFFFFFF),
            "seed": (seed, 0, 0xFFFFFFFF),
        }
        for name, (value, low, high) in limits.items():
            if not low <= value <= high:
                raise SetunError(name, f"from {low} to {high}", value)
        payload = struct.pack("<HBII", count, int(greedy), inv_temperature_bits, seed)
        command = _of(Command.GENERATE, context)
        known = self._packed(ends)
        # A queue of its own: an iterator left over from before must not take these events.
        events: deque[Frame] = deque()
        self.transport.events[context] = events
        if known and self.knows_ends:
            try:
                data = self._command(command, known + payload)
            except BadArgument:
                self.knows_ends = False
        if not (known and self.knows_ends):
            data = self._command(command, payload)
        return self._tokens(_sized(Command.GENERATE, data, 1)[0], context, events, waiting)

    def stop(self, context: int = 0) -> None:
        """End a context's generation; its iterator still gives what was on the way, then ends."""
        self._command(_of(Command.STOP, context))

    def counters(self) -> list[int]:
        """The chip's 32-bit counters, in its order."""
        data = self._command(Command.COUNTERS)
        return [value for (value,) in struct.iter_unpack("<I", data[: len(data) // 4 * 4])]

    def _tokens(
        self, expected: int, context: int, events: deque[Frame], waiting: Callable[[], None]
    ) -> Iterator[int]:
        received = 0
        first = True
        while True:
            # From here on: the caller may have been away for long.
            deadline = time.monotonic() + self._patience
            pause, silent = min(self._timeout, WAIT_SLICE), 0.0
            while not events:
                waiting()
                if events is not self.transport.events[context]:
                    raise SetunError(
                        "generation", "is read before the next one of its context begins"
                    )
                silent = 0.0 if self.transport.pump(pause) else silent + pause
                if silent >= self._timeout:
                    self._command(Command.INFO)
                    silent = 0.0
                # Events of other contexts may keep coming.
                if not events and time.monotonic() > deadline:
                    raise SetunError(
                        "generation",
                        f"a token within {self._patience:g} s",
                        f"none after {received} tokens",
                        "reset the chip",
                    )
            event = events.popleft()
            behind = (expected - event.seq) & 0xFF
            if first and 0 < behind <= STALE_EVENTS:
                continue
            first = False
            if behind:
                raise _lost(f"event {event.seq} instead of {expected}")
            expected = (expected + 1) & 0xFF
            if event.kind & ~CONTEXT == Event.DONE:
                done = Done.unpack(event.payload)
                if done is None or done.tokens != received:
                    raise _lost(f"{received} tokens, chip's report {done}")
                self.last_done = done
                return
            if len(event.payload) != TOKEN_BYTES[self.token_bits]:
                raise _lost(f"token of {len(event.payload)} bytes")
            received += 1
            yield int.from_bytes(event.payload, "little")

    def _packed(self, tokens: Sequence[int]) -> bytes:
        size = TOKEN_BYTES[self.token_bits]
        return b"".join(int(token).to_bytes(size, "little") for token in tokens)

    def _try(self, command: int, payload: bytes = b"") -> tuple[int, bytes]:
        (answer,) = self.transport.exchange([(command, payload)])
        return answer[1], answer[2]

    def _command(self, command: int, payload: bytes = b"") -> bytes:
        deadline = time.monotonic() + self._patience
        while True:
            status, data = self._try(command, payload)
            if status != Status.BUSY:
                _check_status(command, status)
                return data
            self._still_busy(command, deadline)

    def _pipeline(
        self, requests: Iterator[tuple[Command, bytes]], window: int
    ) -> Iterator[tuple[int, bytes]]:
        """Exchange; requests that found the chip busy are tried again, one by one."""
        sent: dict[int, tuple[Command, bytes]] = {}

        def remembered() -> Iterator[tuple[Command, bytes]]:
            for index, request in enumerate(requests):
                sent[index] = request
                yield request

        for index, status, data in self.transport.exchange(remembered(), window):
            command, payload = sent.pop(index)
            if status == Status.BUSY:
                sent[index] = command, payload
                continue
            _check_status(command, status)
            yield index, data
        for index, (command, payload) in sent.items():
            yield index, self._command(command, payload)

    def _still_busy(self, command: int, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise SetunError(
                f"{_name(command)} command",
                f"a chip that is free within {self._patience:g} s",
                "busy",
                "stop the running generation first",
            )
        self.transport.pump(BUSY_PAUSE)


def _lost(found: str) -> SetunError:
    return SetunError(
        "token events", "arrive complete and in order", found, "lower the baud rate, check the line"
    )


def _of(command: Command, context: int) -> int:
    """Type of a command to a context."""
    if not 0 <= context < MAX_CONTEXTS:
        raise SetunError("context", f"from 0 to {MAX_CONTEXTS - 1}", context)
    return command | context << 4


def _name(command: int) -> str:
    return Command(command & ~CONTEXT).name


class BadArgument(SetunError):
    """The chip does not know such a payload."""


def _check_status(command: int, status: int) -> bool:
    """True; refuses any other status than OK."""
    if status != Status.OK:
        known = status in list(Status)
        kind = BadArgument if status == Status.BAD_ARGUMENT else SetunError
        raise kind(
            f"{_name(command)} command",
            "accepted by the chip",
            Status(status).name.lower().replace("_", " ") if known else f"status {status}",
            "check that bitstream and host are of one version",
        )
    return True


def _sized(command: Command, data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise SetunError(f"{command.name} reply", f"{size} bytes of data", len(data))
    return data


def _words(words: NDArray[np.uint32] | Sequence[int]) -> NDArray[np.uint32]:
    try:
        array = np.asarray(words)
        if array.size and (array.dtype.kind not in "iu" or array.min() < 0):
            raise OverflowError
        data = array.reshape(-1).astype("<u4", casting="unsafe")
        if (data != array.reshape(-1)).any():
            raise OverflowError
    except (OverflowError, ValueError, TypeError):
        raise SetunError("write", "integers from 0 to 2**32 - 1") from None
    return data


def _check_range(space: int, address: int, count: int) -> None:
    if not 0 <= space < SPACES:
        raise SetunError("memory space", f"from 0 to {SPACES - 1}", space)
    if address < 0 or count < 0 or address + count > 1 << 32:
        raise SetunError("memory range", "within 32-bit word addresses", f"{address} + {count}")
