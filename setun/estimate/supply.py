"""How fast weight words come: every cycle from block RAM, at its pins' pace from a memory."""

from setun.firmware.config import ChipConfig
from setun.hw.memory.controllers.sdram_timing import sdram_timing
from setun.hw.memory.external import BURST, LATENCY, USUAL, sdram_part

AXI_LATENCY = 50  # cycles of the slave that the bench has; not the chip's to know


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


def efficiency(config: ChipConfig) -> float:
    """Share of cycles in which an SDRAM's pins carry data: it is refreshed in the others."""
    timing = sdram_timing(sdram_part(config), config.clock_hz)
    return 1 - (timing.rp + timing.rfc + 1) / timing.refresh_interval


def supply_of(config: ChipConfig) -> Supply:
    """The weights of a chip."""
    if not config.external:
        return Supply()
    rate = config.weight_port / config.weight_bits
    beats = (LATENCY + BURST) * config.weight_port / config.weight_bits
    depth, latency = max(16.0, beats), 24.0
    if config.memory in USUAL and config.memory.startswith("sdram"):
        rate *= efficiency(config)
    elif config.memory.startswith("axi4"):
        latency += AXI_LATENCY
    elif config.memory == "qspi":
        latency += 40
    return Supply(rate, depth, latency)
