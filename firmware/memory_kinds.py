"""Memories that the weights of a chip may lie in, as everything but gateware needs to know them.

A kind is one record here, and one object in each table that is keyed by its name:
`setun.hw.memory.kinds` (controller, pins), `setun.sim.memories.kinds` (model of the part) and
`setun.estimate.memories` (how fast words come). `tests/` refuses a kind that a table lacks.
"""

from dataclasses import dataclass
from enum import Enum

from setun.firmware.core_kinds import PARALLEL, SMALL, CoreKind

SECTOR = 4096  # bytes of a flash that are erased together


class Loading(Enum):
    """How weights come to where they lie."""

    BITSTREAM = "bitstream"
    """Block RAM: with the FPGA's configuration."""
    FLASH = "flash"
    """The board's flash: programmed beside the bitstream, kept without power."""
    LINK = "link"
    """RAM that no bitstream fills: over the link, after each power-on."""


@dataclass(frozen=True, kw_only=True)
class MemoryKind:
    """Where the weights of a chip lie.

    Parameters
    ----------
    name
        What `ChipConfig.memory` calls it.
    place
        Where that is, in a sentence: "in …".
    core
        The core that reads it.
    beat, beat_cycles
        Bits that it delivers at a time, and cycles that this takes; 0 bits for a whole weight word.
    sector
        Bytes that writing the first of them erases; 0 for RAM.
    parts
        Whether `ChipConfig.part` names the part.
    gear
        How many times the chip's clock the part's is, and its beats in one of `beat`.
    slow
        Name of the kind whose parts these are too, on the chip's clock; "" if it is this one.
    loading
        How a model gets there.
    """

    name: str
    place: str
    core: CoreKind = PARALLEL
    beat: int = 0
    beat_cycles: int = 1
    sector: int = 0
    parts: bool = False
    gear: int = 1
    slow: str = ""
    loading: Loading = Loading.LINK

    @property
    def external(self) -> bool:
        """Whether it lies outside block RAM; words are then packed byte by byte."""
        return self.beat > 0

    @property
    def shares_weights(self) -> bool:
        """Whether the tokens of a pass share each weight word, or each reads the weights again.

        On the chip a weight costs nothing to read twice, and a token's matvec then hides what
        the other waits for; a memory outside is the bottleneck itself.
        """
        return self.external


def _sdram(pins: int, gear: int = 1) -> MemoryKind:
    slow = f"sdram-{pins}"
    name = slow if gear == 1 else f"{slow}x{gear}"
    return MemoryKind(
        name=name,
        place="the SDRAM",
        beat=gear * pins,
        parts=True,
        gear=gear,
        slow="" if gear == 1 else slow,
    )


def _axi4(bits: int) -> MemoryKind:
    return MemoryKind(name=f"axi4-{bits}", place="memory behind AXI4", beat=bits)


ONCHIP = MemoryKind(name="onchip", place="block RAM", loading=Loading.BITSTREAM)
# A chip reports its kind by the place in this list: new ones go to the end.
_LIST = (
    ONCHIP,
    _sdram(16),
    _sdram(32),
    _axi4(64),
    _axi4(128),
    _axi4(256),
    _axi4(512),
    MemoryKind(
        name="qspi",
        place="flash",
        beat=32,
        beat_cycles=16,  # 4 data pins at half the clock
        sector=SECTOR,
        parts=True,
        loading=Loading.FLASH,
    ),
    MemoryKind(name="spram", place="single-port RAM", beat=64),
    MemoryKind(name="spram-16", place="single-port RAM", beat=16, core=SMALL),
    _sdram(16, gear=2),
)
KINDS: dict[str, MemoryKind] = {kind.name: kind for kind in _LIST}
