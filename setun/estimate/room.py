"""Room for a model: what it takes of memories and of the FPGA, of what there is, at once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from setun import boards
from setun.boards import Board
from setun.estimate.cores import core_estimate
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.external import ExternalModel
from setun.firmware.image.image import Image
from setun.firmware.memory_kinds import ONCHIP
from setun.firmware.program.isa import Table
from setun.hw.fpga.family import WORDS
from setun.hw.memory.kinds import memory_gateware

SPRAM_BITS = 1 << 18  # of a block of single-port RAM
DENSE = 8 / 5  # bits of a weight where five share a byte


@dataclass(frozen=True, kw_only=True)
class Room:
    """Bytes that a model needs of one memory, at least, and those that it has."""

    memory: str
    needed: int
    available: int

    @property
    def enough(self) -> bool:
        """Whether the model may fit there."""
        return self.needed <= self.available

    def __str__(self) -> str:
        place = "block RAM" if self.memory == ONCHIP.name else self.memory
        return f"{place} {self.needed / 1e6:,.1f} of {self.available / 1e6:,.1f} MB"


def room(image: Image, config: ChipConfig, board: Board) -> Room:
    """What `image` needs of the memory of a chip, whose other sizes do not count."""
    if config.streams:
        needed = ExternalModel(image, config).size()
        most = memory_gateware(config).most(config)
        there = board.memory_bytes(config.memory) or most
        return Room(memory=config.memory, needed=needed, available=min(most, there))
    weights = DENSE if config.packing == "1.6b" else 2
    numbers = sum(image.tables[t].size for t in (Table.CONSTANTS, Table.EMBEDDING))
    bits = image.weights * weights + numbers * config.vector.width
    most = board.capacity.get("block_ram", 0) * board.fpga.block_bits
    most += board.capacity.get("single_port_ram", 0) * SPRAM_BITS
    return Room(memory=config.memory, needed=round(bits / 8), available=most // 8)


def memories(config: ChipConfig, board: Board, fixed: Collection[str]) -> list[str]:
    """Where a board may have a model: the chip's memory, and others unless it is `fixed`."""
    others = (ONCHIP.name, *(m.name for m in board.memory))
    free = core_estimate(config).searched and "memory" not in fixed
    return list(dict.fromkeys([config.memory, *(others if free else ())]))


def rooms(
    image: Image, base: ChipConfig, board: Board, names: Sequence[str], fixed: Collection[str]
) -> list[Room]:
    """`room` in each of the memories `names`, weights packed as densely as they may be."""
    found = []
    for name in names:
        part = {} if "part" in fixed else {"part": board.part(name)}
        packing = base.packing if "packing" in fixed else "1.6b"
        found.append(room(image, base.override(memory=name, packing=packing, **part), board))
    return found


def check_room(
    image: Image, base: ChipConfig, board: Board, fixed: Collection[str], *, choose: bool = False
) -> list[str]:
    """Memories of a board that may hold a model, before any chip is sized for it.

    Parameters
    ----------
    base
        The chip; sizes of its memories do not count.
    fixed
        Options that stay as in `base`.
    choose
        Whether another memory than `base`'s will do.

    Raises
    ------
    SetunError
        None of them does: what is needed of each, of what there is.
    """
    found = rooms(image, base, board, memories(base, board, fixed), fixed)
    usable = [each.memory for each in found if each.enough]
    if usable if choose else base.memory in usable:
        return usable
    usual = str(board.chip.get("memory", base.memory))
    names = [usual, *memories(base, board, ())]
    others = rooms(image, base, board, names, {"packing"} & set(fixed))
    better = next((each.memory for each in others if each.enough), None)
    fix = f"--set memory={better}" if better else "a smaller model: setun boards tells what fits"
    told = "; ".join(map(str, found if choose else found[:1]))
    raise SetunError(f"model on {board.name}", "must fit a memory (needed of available)", told, fix)


def widest(board: Board) -> dict[str, int]:
    """The most that an FPGA of a board's family has of each kind, of those that are known."""
    found: dict[str, int] = {}
    for other in map(boards.get, boards.names()):
        if other.family == board.family:
            found |= {k: max(n, found.get(k, 0)) for k, n in other.capacity.items()}
    return found


def check_cells(config: ChipConfig, board: Board) -> dict[str, int]:
    """What a chip takes, by neutral name; refuses one that no FPGA of the board's family holds.

    `ram_bits` are those of all its memories, `memory_bytes` are outside of the FPGA.

    Raises
    ------
    SetunError
        What is short: needed of available.
    """
    core, most = core_estimate(config), widest(board)
    cells = core.cells(config, board.fpga)
    short = [
        f"{board.fpga.called(kind)} {count:,} of {most[kind]:,}"
        for kind, count in cells.items()
        if kind in most and count > most[kind]
    ]
    if short:
        family = board.fpga.name if board.has_fpga else "any"
        raise SetunError(
            "chip",
            f"must fit an FPGA of {family} family (needed of most)",
            ", ".join(short),
            "fewer lanes, columns, rows or contexts, or a smaller model",
        )
    outside = {"memory_bytes": config.external_bytes} if config.streams else {}
    return cells | (core.anywhere(config) or {}) | outside


def told(needs: Mapping[str, int], fpgas: Sequence[str] | None) -> str:
    """What a chip takes, in a line."""
    words = {**WORDS, "ram_bits": "bits of RAM"}
    line = ", ".join(f"{needs[kind]:,} {word}" for kind, word in words.items() if kind in needs)
    held = "" if fpgas is None else f"; fits {', '.join(fpgas) or 'no FPGA known'}"
    return f"takes {line}{held}"


def parts(config: ChipConfig, board: Board) -> list[str] | None:
    """FPGAs that hold a chip, of those that a board without one knows; None with one."""
    if board.has_fpga:
        return None
    needed = core_estimate(config).cells(config, board.fpga)
    return [
        name
        for name, cells in board.parts.items()
        if all(count <= cells.get(kind, 0) for kind, count in needed.items())
    ]
