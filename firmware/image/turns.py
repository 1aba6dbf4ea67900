"""RoPE's increments as a chip holds them: beside the gains, in pairs of numbers."""

import numpy as np
from numpy.typing import NDArray

from setun.firmware.image.image import Image, aligned
from setun.firmware.numerics import rotary
from setun.firmware.program.isa import Table

TURN_BITS = rotary.PHASE_BITS // 2
"""Of an increment that lie in either number of a pair."""


def turn_words(image: Image, lanes: int) -> NDArray[np.uint32]:
    """Increments in words as gains lie: `lanes` low halves, then as many high ones."""
    turns = image.tables.get(Table.ROPE, np.zeros(0)).astype(np.uint32)
    whole = np.zeros(aligned(len(turns), lanes), np.uint32)
    whole[: len(turns)] = turns
    halves = np.stack([whole & ((1 << TURN_BITS) - 1), whole >> TURN_BITS])
    return halves.reshape(2, -1, lanes).transpose(1, 0, 2).ravel()
