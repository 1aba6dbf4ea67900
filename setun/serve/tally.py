"""Counts of what a server has done."""

import threading
from collections import Counter


class Tally:
    """Counters by name and label; any thread may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, name: str, amount: float = 1, label: str = "") -> None:
        """Count `amount` more of `name`."""
        with self._lock:
            self._counts[name, label] += amount  # type: ignore[assignment]

    def of(self, name: str) -> dict[str, float]:
        """Counts of `name` by label."""
        with self._lock:
            return {label: n for (found, label), n in self._counts.items() if found == name}
