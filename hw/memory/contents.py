"""What a memory of the Verilog holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from setun.firmware.image.memory_layout import MemoryLayout, Space


@dataclass(frozen=True)
class Contents:
    """Initial words of one memory of the Verilog, all of its depth."""

    width: int
    words: Sequence[int]


def filled(width: int, depth: int, words: Sequence[int]) -> Contents:
    """`words` with zeros behind them."""
    return Contents(width, [*words, *[0] * (depth - len(words))])


def weight_contents(layout: MemoryLayout, width: int, depth: int) -> Contents:
    """`depth` words of `width` bits of a memory outside block RAM, zeros behind the weights."""
    raw = layout.spaces[Space.WEIGHTS].astype("<u4").tobytes()
    size = width // 8
    words = [int.from_bytes(raw[k : k + size], "little") for k in range(0, len(raw), size)]
    return filled(width, depth, words)
