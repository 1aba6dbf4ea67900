"""The host client: one method per command, for a board and for the simulated chip alike."""

import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from setun.firmware.errors import SetunError
from setun.firmware.link.frames import Frame
from setun.firmware.link.memory import ChipMemory
from setun.firmware.link.messages import (
    CONTEXT,
    MAX_CONTEXTS,
    TOKEN_BYTES,
    Command,
    Done,
    Event,
    Status,
    prompt_tokens,
)
from setun.firmware.link.port import Port
from setun.firmware.link.requests import BadArgument, check_status, sized

STALE_EVENTS = 16
WAIT_SLICE = 0.1


class ChipClient(ChipMemory):
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
        super().__init__(port, timeout, retries, patience)
        self.last_done: Done | None = None
        self.knows_ends = True
        self.token_bits = 16

    @property
    def longest_prompt(self) -> int:
        """Tokens in one PROMPT."""
        return prompt_tokens(TOKEN_BYTES[self.token_bits])

    def info(self) -> bytes:
        """Configuration record of the chip, verbatim."""
        return self._command(Command.INFO)

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
        return status != Status.BUSY and check_status(Command.PROMPT, status)

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
        return self._tokens(sized(Command.GENERATE, data, 1)[0], context, events, waiting)

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


def _lost(found: str) -> SetunError:
    return SetunError(
        "token events", "arrive complete and in order", found, "lower the baud rate, check the line"
    )


def _of(command: Command, context: int) -> int:
    """Type of a command to a context."""
    if not 0 <= context < MAX_CONTEXTS:
        raise SetunError("context", f"from 0 to {MAX_CONTEXTS - 1}", context)
    return command | context << 4
