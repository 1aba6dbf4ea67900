"""What `build_bitstream` takes to put a model's chip on a board."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from setun.boards import Board
from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import MemoryLayout, lay_out, sized_for
from setun.firmware.image.model_hash import work_hash
from setun.hw.chip import Chip
from setun.hw.fpga.flow.bitstream import Model
from setun.hw.fpga.flow.marks import in_bitstream
from setun.models.load import open_model


def usual_chip(board: Board) -> ChipConfig:
    """The board's usual chip with memories for its model, as `setun build` makes it."""
    image = open_model(board.model).image
    plain = {
        **ChipConfig().to_dict(),
        "packing": image.packing,
        "baud": board.baud,
        "clock_hz": round(board.chip_clock_mhz * 1e6),
    }
    return sized_for(image, ChipConfig.from_dict({**plain, **board.usual({})}))


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A chip with a model.

    Parameters
    ----------
    chip
        Makes the chip, the model in those of its memories that a bitstream holds.
    model
        The model, where it can be put into a finished chip; None otherwise.
    contents
        The model's words for this chip.
    """

    chip: Callable[[], Any]
    model: Model | None
    contents: MemoryLayout


def parts(image: Image, config: ChipConfig, board: Board) -> Parts:
    """The chip `config` with `image` on `board`.

    Raises
    ------
    SetunError
        The model does not fit the chip.
    """
    # Weights in RAM beyond the chip are loaded over the link, and the rest with them.
    contents = lay_out(image, config)
    layout = contents if in_bitstream(config) else None
    kind = board.fpga
    make = partial(
        Chip, config, technology=kind.flow_technology, round_trip=kind.round_trip(config)
    )
    model = None
    if in_bitstream(config) and kind.patching is not None:
        model = Model(chip=make, config=config, layout=contents, work=work_hash(image))
    return Parts(chip=partial(make, layout), model=model, contents=contents)
