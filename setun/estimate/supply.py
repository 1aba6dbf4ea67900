"""How fast weight words come: every cycle from block RAM, at its pins' pace from a memory."""


class Supply:
    """Weight words that memory makes, `rate` a cycle, up to `depth` ahead of the array.

    Parameters
    ----------
    rate
        Words a cycle; 0 for memory that always has one.
    depth
        Words that wait.
    latency
        Cycles until the first one.
    """

    def __init__(self, rate: float = 0.0, depth: float = 0.0, latency: float = 0.0) -> None:
        self.rate, self.depth = rate, depth
        self.stock, self.since = 0.0, latency

    def take(self, now: int, words: int, cycles: int) -> int:
        """Use `words` from cycle `now` on, each for `cycles`; returns the cycle behind the last."""
        if not self.rate:
            return now + words * cycles
        waiting = max(self.since, 0.0)
        stock = min(self.depth, self.stock + max(0.0, now - waiting) * self.rate)
        base = max(float(now), waiting)
        # The last word must have come; until then memory goes on.
        short = words - stock
        end = max(now + words * cycles, base + short / self.rate)
        end = int(-(-end // 1))
        self.stock = min(self.depth, stock + (end - base) * self.rate - words)
        self.since = float(end)
        return end
