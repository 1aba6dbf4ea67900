"""How fast words come from each kind of weight memory, and what its gateware costs: one list."""

from setun.estimate.supply import Supply
from setun.firmware.config import ChipConfig
from setun.firmware.image.external import CONTAINER
from setun.hw.memory.controllers.sdram_timing import sdram_timing
from setun.hw.memory.external import queueing
from setun.hw.memory.kinds import memory_gateware
from setun.hw.memory.stream.model_reader import ROW_BURST

AXI_LATENCY = 50  # cycles of the slave that the bench has; not the chip's to know
FIRST = 24  # cycles until the first word of a memory outside


class MemoryEstimate:
    """Estimate of a memory outside block RAM that delivers a beat whenever it may.

    Parameters
    ----------
    term
        What the estimator calls its controller's cost, "" for none.
    latency
        Cycles until the first word, beyond those of any.
    write
        Cycles of a word of 32 bits that is written, one after the other.
    """

    def __init__(self, term: str, latency: int = 0, write: int = 8) -> None:
        self.term, self.latency, self.write = term, latency, write

    def efficiency(self, config: ChipConfig) -> float:
        """Share of cycles in which the pins carry data."""
        return 1.0

    @property
    def first(self) -> int:
        """Cycles until the first of what is read comes."""
        return FIRST + self.latency

    def supply(self, config: ChipConfig, share: float) -> Supply:
        """Weight words as the array gets them; they are a `share` of what is read."""
        port = share * config.weight_port / config.weight_bits
        burst, ahead = queueing(config)
        depth = max(16.0, (ahead + burst) * port)
        return Supply(port * self.efficiency(config), depth, float(self.first))

    def row(self, config: ChipConfig, asked: int, n: int) -> int:
        """Cycle in which a row of an embedding has come, of `n` numbers, asked for in `asked`.

        It comes behind what the stream has asked for at the start; two bursts are on their way.
        """
        beats = config.beat // config.weight_port  # cycles of one
        bursts = -(-8 * CONTAINER * n // (ROW_BURST * config.beat))
        begins = max(asked, queueing(config)[1] * beats) + self.first
        return begins + ROW_BURST * beats + (bursts - 1) * max(ROW_BURST * beats, self.first // 2)


class BlockRam(MemoryEstimate):
    """Block RAM: a word every cycle."""

    def supply(self, config: ChipConfig, share: float) -> Supply:
        return Supply()


class Sdram(MemoryEstimate):
    """An SDRAM, which is refreshed in the other cycles."""

    def efficiency(self, config: ChipConfig) -> float:
        clock_hz = config.memory_kind.gear * config.clock_hz
        timing = sdram_timing(memory_gateware(config).part(config), clock_hz)
        return 1 - (timing.rp + timing.rfc + 1) / timing.refresh_interval


_SDRAM, _SPRAM = Sdram("sdram"), MemoryEstimate("spram")
_AXI4 = MemoryEstimate("axi4", AXI_LATENCY, write=10)
ESTIMATES: dict[str, MemoryEstimate] = {
    "onchip": BlockRam(""),
    "sdram-16": _SDRAM,
    "sdram-32": _SDRAM,
    "axi4-64": _AXI4,
    "axi4-128": _AXI4,
    "axi4-256": _AXI4,
    "axi4-512": _AXI4,
    "qspi": MemoryEstimate("qspi", 40),
    "spram": _SPRAM,
    "spram-16": _SPRAM,
    "sdram-16x2": Sdram("sdram"),
}
TERMS = tuple(dict.fromkeys(each.term for each in ESTIMATES.values() if each.term))


def memory_estimate(config: ChipConfig) -> MemoryEstimate:
    """The estimate of a chip's weight memory."""
    return ESTIMATES[config.memory]
