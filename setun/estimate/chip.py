"""What a chip comes to on a board: cells, block RAM, cycles, tokens a second, load time."""

from dataclasses import dataclass
from typing import Any

from setun.boards import Board
from setun.estimate.cores import core_estimate
from setun.estimate.cycles import POSITION
from setun.estimate.room import parts
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import requirements, weight_stride
from setun.firmware.link.frames import OVERHEAD
from setun.firmware.link.messages import MAX_WORDS
from setun.firmware.program.isa import WORDS
from setun.hw.cores import core_gateware
from setun.hw.memory.kinds import memory_gateware

BITS = 10  # of a byte on the wire
FRAME_BYTES = 5 + OVERHEAD + 2  # where the words go; COBS's byte and the frame's end


def memory_fits(config: ChipConfig) -> bool:
    """Whether the memories outside the FPGA's block RAM hold what the chip keeps there."""
    try:
        core_gateware(config).check(config)
    except SetunError:
        return False
    return True


def load_seconds(image: Image, config: ChipConfig) -> float:
    """Seconds that the model takes over the UART: its frames, one after the other."""
    c = config
    if c.streams:
        words = requirements(image, c)["memory_bytes"] // 4
    else:
        weights = c.weight_bytes // 4 if c.external else c.weight_words * weight_stride(c)
        words = weights + WORDS * len(image.program) + 2 * c.constant_pairs + c.state_elements
    frames = -(-words // MAX_WORDS)
    return (4 * words + FRAME_BYTES * frames) * BITS / c.baud


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A chip on a board; the keys of `setun estimate --json` that `report.json` has too.

    needed
        Cells by neutral name, as on an ECP5 where the board has no FPGA.
    anywhere
        What it takes of any FPGA: bits of RAM, and `block_ram`, `luts`, `registers`, `multipliers`
        as on an ECP5; None for a core that is made for one family.
    parts
        FPGAs that hold it, of those that a board without one knows; None with one.
    memory_bytes
        Bytes of the memory outside that the model takes, and those that there are; None where it
        lies inside.
    cycles
        Cycles per token, by streams: one, and as many as the chip has contexts.
    """

    config: ChipConfig
    needed: dict[str, int]
    capacity: dict[str, int]
    anywhere: dict[str, int] | None
    parts: list[str] | None
    memory_bytes: list[int] | None
    cycles: dict[int, float]
    load_seconds: float
    memory_fits: bool

    @property
    def cycles_per_token(self) -> float:
        """The figure with as many streams as the chip has contexts."""
        return self.cycles[self.config.contexts]

    @property
    def short(self) -> dict[str, list[int]]:
        """[needed, available] of each resource that is short, `memory_bytes` among them."""
        every = self.utilisation
        if self.memory_bytes:
            every["memory_bytes"] = self.memory_bytes
        return {k: v for k, v in every.items() if v[0] > v[1]}

    @property
    def fits(self) -> bool:
        """Whether nothing is short, and one FPGA has all of it."""
        return not self.short and self.memory_fits and self.parts != []

    @property
    def utilisation(self) -> dict[str, list[int]]:
        """[needed, available] by kind; where there is no FPGA, the most that one has of each."""
        return {k: [n, self.capacity.get(k, 0)] for k, n in sorted(self.needed.items())}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready contents."""
        hz, streams = self.config.clock_hz, self.config.contexts
        return {
            "utilisation": self.utilisation,
            "fits": self.fits,
            "short": self.short,
            "anywhere": self.anywhere,
            "parts": self.parts,
            "memory_bytes": self.memory_bytes,
            "streams": streams,
            "cycles_per_token": self.cycles_per_token,
            "tokens_per_second": hz / self.cycles_per_token,
            "one_stream": {
                "cycles_per_token": self.cycles[1],
                "tokens_per_second": hz / self.cycles[1],
            },
            "load_seconds": self.load_seconds,
        }


def estimate(image: Image, config: ChipConfig, board: Board, position: int = POSITION) -> Estimate:
    """What `image` on the chip `config` needs of `board`, and how fast it is behind `position`
    tokens, which only attention asks for."""
    core = core_estimate(config)
    most = memory_gateware(config).most(config)
    return Estimate(
        config=config,
        needed=core.cells(config, board.fpga),
        capacity=board.capacity,
        anywhere=core.anywhere(config),
        parts=parts(config, board),
        memory_bytes=[config.external_bytes, most] if config.streams else None,
        cycles=core.cycles(image, config, position),
        load_seconds=load_seconds(image, config),
        memory_fits=memory_fits(config),
    )
