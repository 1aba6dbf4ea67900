"""What a chip comes to on a board: cells, block RAM, cycles, tokens a second, load time."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from setun.boards import Board
from setun.estimate import small
from setun.estimate.cells import KINDS, data, unit_cells
from setun.estimate.cycles import cycles_per_token
from setun.firmware.config import SPRAM_BLOCK, ChipConfig
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import weight_stride
from setun.firmware.link.frames import OVERHEAD
from setun.firmware.link.messages import MAX_WORDS
from setun.firmware.program.isa import WORDS
from setun.hw.emit.resources import block_ram
from setun.hw.memory.external import capacity

BITS = 10  # of a byte on the wire
FRAME_BYTES = 5 + OVERHEAD + 2  # where the words go; COBS's byte and the frame's end


@cache
def joining() -> dict[str, float]:
    """What a placed chip takes over its units' netlists, by kind: the mean of the builds.

    Packing adds constants and ends of carry chains; the core adds counters and queues of commands.
    """
    rows = [(unit_cells(ChipConfig.from_dict(row["config"])), row) for row in data("builds.json")]
    return {
        kind: float(
            np.mean(
                [
                    row["utilisation"][kind][0] / sum(unit[kind] for unit in units.values())
                    for units, row in rows
                ]
            )
        )
        for kind in KINDS
    }


def logic(config: ChipConfig) -> dict[str, int]:
    """Cells of the chip on an ECP5 but its block RAM, in nextpnr's names."""
    units = unit_cells(config).values()
    return {
        kind: round(share * sum(unit[kind] for unit in units)) for kind, share in joining().items()
    }


def cells(config: ChipConfig) -> dict[str, int]:
    """Cells of the chip, in nextpnr's names: on an ECP5, or of a small one on an iCE40."""
    if config.small:
        return small.cells(config)
    return {"DP16KD": sum(block_ram(config).values()), **logic(config)}


def memory_fits(config: ChipConfig) -> bool:
    """Whether the memory outside the FPGA's block RAM holds what the chip keeps there."""
    if config.small and config.constants_end > SPRAM_BLOCK:
        return False
    return not config.external or config.weight_bytes <= capacity(config)


def load_seconds(image: Image, config: ChipConfig) -> float:
    """Seconds that the model takes over the UART: its frames, one after the other."""
    c = config
    weights = c.weight_bytes // 4 if c.external else c.weight_words * weight_stride(c)
    words = weights + WORDS * len(image.program) + 2 * c.constant_pairs + c.state_elements
    frames = -(-words // MAX_WORDS)
    return (4 * words + FRAME_BYTES * frames) * BITS / c.baud


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A chip on a board; the keys of `setun estimate --json` that `report.json` has too.

    needed
        Cells by kind, in nextpnr's names; None for a board without an FPGA that is known.
    cycles
        Cycles per token, by streams: one, and as many as the chip has contexts.
    """

    config: ChipConfig
    needed: dict[str, int] | None
    capacity: dict[str, int]
    cycles: dict[int, float]
    load_seconds: float
    memory_fits: bool

    @property
    def cycles_per_token(self) -> float:
        """With as many streams as the chip has contexts."""
        return self.cycles[self.config.contexts]

    @property
    def short(self) -> dict[str, list[int]]:
        """[needed, available] of each resource that is short."""
        return {k: v for k, v in self.utilisation.items() if v[0] > v[1]}

    @property
    def fits(self) -> bool:
        """Whether nothing is short."""
        return not self.short and self.memory_fits

    @property
    def utilisation(self) -> dict[str, list[int]]:
        """[needed, available] by kind."""
        return {kind: [n, self.capacity[kind]] for kind, n in sorted((self.needed or {}).items())}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready contents."""
        hz, streams = self.config.clock_hz, self.config.contexts
        return {
            "utilisation": self.utilisation,
            "fits": self.fits,
            "short": self.short,
            "streams": streams,
            "cycles_per_token": self.cycles_per_token,
            "tokens_per_second": hz / self.cycles_per_token,
            "one_stream": {
                "cycles_per_token": self.cycles[1],
                "tokens_per_second": hz / self.cycles[1],
            },
            "load_seconds": self.load_seconds,
        }


def _cycles(image: Image, config: ChipConfig) -> dict[int, float]:
    if config.small:
        return {1: small.cycles_per_token(image, config)}
    return {n: cycles_per_token(image, config, n) for n in sorted({1, config.contexts})}


def estimate(image: Image, config: ChipConfig, board: Board) -> Estimate:
    """What `image` on the chip `config` needs of `board`, and how fast it is."""
    return Estimate(
        config=config,
        needed=cells(config) if board.has_fpga else None,
        capacity=board.capacity,
        cycles=_cycles(image, config),
        load_seconds=load_seconds(image, config),
        memory_fits=memory_fits(config),
    )
