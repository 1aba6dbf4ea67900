"""What serves several conversations at once: a chip's contexts, or the golden model's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from setun.backends.base import Sampling
from setun.firmware.config import ChipConfig
from setun.firmware.link.messages import Reason
from setun.firmware.numerics.options import Numerics


@dataclass(frozen=True)
class Ended:
    """A generation's end; cycles between its first and its last, None without a clock."""

    reason: Reason
    cycles: int | None = None


Event = tuple[int, int | Ended]
"""A context, and its next token or its generation's end."""


class Engine(Protocol):
    """Several contexts of one model. One thread at a time; no method but `close` waits for tokens.

    Members
    -------
    contexts
        Conversations that it holds.
    numerics
        Its arithmetic.
    config
        The chip's, None without one.

    Errors: every method but `close` raises SetunError when the chip is gone or damaged; then
    everything that it held is lost.
    """

    contexts: int
    numerics: Numerics
    config: ChipConfig | None

    def reset(self, context: int) -> None:
        """Empty a context in which nothing is under way."""

    def feed(self, tokens: Sequence[int], context: int) -> int:
        """Feed the first of `tokens`, as many as there is room for now; how many these were."""

    def begin(self, context: int, count: int, sampling: Sampling) -> None:
        """Generate up to `count` tokens behind what has been fed."""

    def stop(self, context: int) -> None:
        """End a generation within one token; `poll` still gives its `Ended`."""

    def poll(self, wait: float) -> Iterator[Event]:
        """What has come, after `wait` seconds at most where nothing has."""

    def idle(self) -> None:
        """Look, while nothing is under way, whether the chip is still there."""

    def counters(self) -> dict[str, int]:
        """Counters of what was done, by name, modulo 2³²; none without a chip."""

    def close(self) -> None:
        """Release ports and processes."""
