"""A chip's contexts over its link, simulated or on a board."""

from collections.abc import Iterator, Sequence

from setun.backends import Sampling, SerialBackend, SimulatedBackend
from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image
from setun.firmware.link.messages import Reason
from setun.hw.control.generation import COUNTERS
from setun.serve.engine import Ended, Event

SILENT_SECONDS = 2.0  # until a chip that gives no tokens is asked whether it is there


class ChipEngine:
    """Runs `image` on the chip of a backend, which holds it; an `Engine`."""

    def __init__(self, image: Image, backend: SerialBackend | SimulatedBackend) -> None:
        self._image, self._backend = image, backend
        self._chip = backend.connected
        self._client = self._chip.client
        chip: ChipConfig = self._chip.config
        self.config: ChipConfig | None = chip
        self.contexts, self.numerics = chip.contexts, chip.numerics
        self._running: dict[int, Iterator[int]] = {}
        self._frame = [self._client.longest_prompt] * self.contexts
        self._silent = 0.0

    def reset(self, context: int) -> None:
        self._client.reset(context)

    def feed(self, tokens: Sequence[int], context: int) -> int:
        part = tokens[: self._frame[context]]
        taken = self._client.offer(part, context)
        # A queue smaller than the frame never has room for all of it.
        size = 2 * self._frame[context] if taken else self._frame[context] // 2
        self._frame[context] = max(1, min(size, self._client.longest_prompt))
        return len(part) if taken else 0

    def begin(self, context: int, count: int, sampling: Sampling) -> None:
        ends = sampling.ends(self._image)
        self._running[context] = self._chip.generate(count, sampling, context, ends=ends)

    def stop(self, context: int) -> None:
        self._client.stop(context)

    def poll(self, wait: float) -> Iterator[Event]:
        events = self._client.transport.events
        if not any(events[context] for context in self._running):
            self._listen(wait)
        for context, tokens in list(self._running.items()):
            while events[context] and context in self._running:
                token = next(tokens, None)
                if token is None:
                    del self._running[context]
                yield context, self._ended() if token is None else token

    def _listen(self, wait: float) -> None:
        if self._client.transport.pump(wait):
            self._silent = 0.0
            return
        self._silent += wait
        if self._silent >= SILENT_SECONDS:
            self._client.info()
            self._silent = 0.0

    def _ended(self) -> Ended:
        done = self._client.last_done
        known = done is not None and done.reason in list(Reason)
        if done is None or not known:
            return Ended(Reason.FAULT)
        return Ended(Reason(done.reason), done.cycles)

    def idle(self) -> None:
        self._client.transport.pump(0.0)

    def counters(self) -> dict[str, int]:
        return dict(zip(COUNTERS, self._client.counters(), strict=False))

    def close(self) -> None:
        self._backend.close()
