"""What a board has done lately."""

import time
from collections import deque
from collections.abc import Mapping

SECONDS = 2.0  # that a rate is taken over
MOST = 64


class Pace:
    """Samples of a board's counters; one thread adds, any may ask.

    Members
    -------
    tokens
        Tokens that came so far.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self._samples: deque[tuple[float, int, dict[str, int]]] = deque(maxlen=MOST)

    def sample(self, counters: Mapping[str, int]) -> None:
        """Remember the counters of now."""
        self._samples.append((time.monotonic(), self.tokens, dict(counters)))

    def tokens_per_second(self) -> float:
        """By the wall clock; 0 while nothing comes."""
        began, tokens, _ = self._before()
        now = time.monotonic()
        return (self.tokens - tokens) / (now - began) if now > began else 0.0

    def spent(self) -> dict[str, int]:
        """What the counters counted in that time, all zero while nothing is done."""
        samples = list(self._samples)
        if not samples:
            return {}
        _, _, before = self._before()
        _, _, latest = samples[-1]
        return {name: value - before.get(name, 0) for name, value in latest.items()}

    def _before(self) -> tuple[float, int, dict[str, int]]:
        """The latest sample that is old enough, else the first."""
        samples = list(self._samples)
        now = time.monotonic()
        old = [sample for sample in samples if sample[0] <= now - SECONDS]
        return (old or samples or [(now, self.tokens, {})])[-1 if old else 0]
