"""What a memory of the Verilog holds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from setun.firmware.image.memory_layout import MemoryLayout, Space


@dataclass(frozen=True)
class Contents:
    """Initial words of one memory of the Verilog, all of its depth.

    Those of a memory outside block RAM are bytes, uint8 [depth, width / 8], lowest first.
    """

    width: int
    words: Sequence[int] | NDArray[np.uint8]


def filled(width: int, depth: int, words: Sequence[int]) -> Contents:
    """`words` with zeros behind them."""
    return Contents(width, [*words, *[0] * (depth - len(words))])


def weight_contents(layout: MemoryLayout, width: int, depth: int) -> Contents:
    """`depth` words of `width` bits of a memory outside block RAM, zeros behind the weights."""
    held = layout.spaces[Space.WEIGHTS].astype("<u4", copy=False).view(np.uint8)
    words = np.zeros(depth * width // 8, np.uint8)
    words[: held.size] = held
    return Contents(width, words.reshape(depth, width // 8))
