"""The largest model that a board's chip holds, as `setun.estimate` reckons."""

from setun.boards import Board
from setun.estimate.chip import estimate
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.memory_layout import sized_for
from setun.firmware.models.architecture import Architecture
from setun.models.random import random_image

HIDDEN = (64, 96, 128, 160, 192, 256, 320, 384, 512)
LAYERS = (3, 4, 6, 8)
RATIO = 3  # of the intermediate size to the hidden one


def fits(
    board: Board, architecture: Architecture, hidden: int, layers: int, intermediate: int
) -> bool:
    """Whether the board's own chip holds a model of these sizes."""
    image = random_image((hidden, layers, intermediate), architecture=architecture)
    clock = {"clock_hz": round(board.chip_clock_mhz * 1e6), "baud": board.baud}
    base = ChipConfig.from_dict({**ChipConfig().to_dict(), **clock, **board.usual({})})
    try:
        return estimate(image, sized_for(image, base), board).fits
    except SetunError:
        return False


def largest(
    board: Board, architecture: Architecture, vocabulary: int, most: int | None = None
) -> tuple[int, int, int]:
    """(hidden, layers, intermediate) with the most ternary weights that fit, `most` at most.

    Of those with the same weights the deeper one, which learns more.

    Raises
    ------
    SetunError
        Not even the smallest fits.
    """
    shapes = [(hidden, layers, RATIO * hidden) for hidden in HIDDEN for layers in LAYERS]
    sized = sorted(
        (
            (architecture.weights(architecture.sized(vocabulary, *shape)), shape[1], shape)
            for shape in shapes
        ),
        reverse=True,
    )
    for count, _, shape in sized:
        if (most is None or count <= most) and fits(board, architecture, *shape):
            return shape
    raise SetunError("model", f"must fit {board.name}", f"not even {sized[-1][2]}")
