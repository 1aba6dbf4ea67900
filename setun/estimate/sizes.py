"""The largest models that fit a board, all resources counted: memories, LUTs, multipliers.

A model is of the MatMul-free LM's proportions, 8/3 as many intermediate elements as hidden ones.
Its chip is the board's, cut down to one context and one lane: a model that it does not fit, fits no
chip of that array.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from setun.boards import Board
from setun.estimate.cores import core_estimate
from setun.estimate.room import memories, room
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import sized_for
from setun.firmware.memory_kinds import ONCHIP
from setun.hw.cores import core_gateware
from setun.models.random import outline_of

LAYERS = (2, 4, 24)
STEP = 16  # hidden elements are a multiple of it
MOST = 12_288  # of hidden elements that are tried


@dataclass(frozen=True, kw_only=True)
class Size:
    """The largest model in one memory of a board.

    weights
        Ternary ones that a token reads, the head among them; 0 where no model fits.
    outside
        Whether the memory lies outside of the FPGA.
    hidden, layers
        Elements of its residual stream, and one of `LAYERS`.
    needed
        [needed, available] of each cell, as `setun.estimate.chip.Estimate.utilisation`, and of
        `memory_bytes`.
    limit
        What the next larger model lacks.
    """

    memory: str
    vocabulary: int
    outside: bool
    weights: int
    hidden: int
    layers: int
    needed: dict[str, list[int]]
    limit: str


@cache
def _image(hidden: int, layers: int, vocabulary: int) -> Image:
    intermediate = -(-8 * hidden // (3 * STEP)) * STEP
    return outline_of((hidden, layers, intermediate, vocabulary), "1.6b")


def _needs(image: Image, config: ChipConfig, board: Board) -> dict[str, list[int]]:
    """[needed, available] by kind; SetunError where no chip has such sizes."""
    place = room(image, config, board)
    found = {"memory_bytes": [place.needed, place.available]}
    if not place.enough:
        return found  # and its chip may be larger than any
    chip = sized_for(image, config)
    core_gateware(chip).check(chip)
    cells = core_estimate(chip).cells(chip, board.fpga)
    return found | {kind: [n, board.capacity.get(kind, 0)] for kind, n in cells.items()}


def _short(image: Image, config: ChipConfig, board: Board) -> str:
    """What the model lacks; "" if nothing."""
    try:
        needs = _needs(image, config, board)
    except SetunError as error:
        return error.thing
    lacking = [kind for kind, (needed, most) in needs.items() if needed > most]
    return lacking[0] if lacking else ""


def largest(board: Board, memory: str, layers: int, vocabulary: int) -> Size:
    """The widest model of so many layers in one of a board's memories."""
    usual = ChipConfig.from_dict({**ChipConfig().to_dict(), **board.chip})
    config = usual
    if core_estimate(usual).searched:
        small = {"lanes": 1, "contexts": 1, "packing": "1.6b", "part": board.part(memory)}
        config = usual.override(memory=memory, **small)
    low, high = 0, MOST // STEP + 1  # in steps: one that fits, one that does not
    limit = "hidden"
    while high - low > 1:
        middle = (low + high) // 2
        short = _short(_image(middle * STEP, layers, vocabulary), config, board)
        low, high, limit = (low, middle, short) if short else (middle, high, limit)
    image = _image(low * STEP, layers, vocabulary) if low else None
    return Size(
        memory=memory,
        vocabulary=vocabulary,
        outside=config.streams,
        weights=image.weights if image else 0,
        hidden=low * STEP,
        layers=layers,
        needed=_needs(image, config, board) if image else {},
        limit=limit,
    )


def sizes(board: Board, vocabularies: Sequence[int]) -> list[Size]:
    """The largest model of each vocabulary in each memory of a board.

    Of buses that differ in their width alone, the chip's.
    """
    usual = ChipConfig.from_dict({**ChipConfig().to_dict(), **board.chip})
    names = memories(usual, board, ())
    if not board.has_fpga:
        names = [name for name in names if name in (usual.memory, ONCHIP.name)]
    return [
        max((largest(board, m, n, v) for n in LAYERS), key=lambda size: size.weights)
        for m in names
        for v in vocabularies
    ]
