"""Block RAM: what fits into a block, and how a memory is cut for it."""

from collections.abc import Mapping
from dataclasses import dataclass

# Words that a block of 18 Kbit (an ECP5's DP16KD) holds at each data width; the 9, 18 and 36 bit
# shapes use the parity bits.
SHAPES = {512: 36, 1024: 18, 2048: 9, 4096: 4, 8192: 2, 16384: 1}


@dataclass(frozen=True)
class Ram:
    """A memory of `depth` words of `width` bits."""

    depth: int
    width: int

    def blocks(self, shapes: Mapping[int, int]) -> int:
        """Blocks that it takes, in the cheapest of their shapes (words: bits)."""
        return min(-(-self.depth // d) * -(-self.width // w) for d, w in shapes.items())


def segments(depth: int, width: int) -> list[int]:
    """Depths of the memories that hold `depth` words in the fewest blocks, largest first.

    Synthesis maps a memory of a power of two words to the block shape of that depth, without
    multiplexers; one memory of another depth costs a multiplexer on every bit.
    """
    if depth <= 512:
        return [depth]
    best: tuple[int, list[int]] | None = None
    for shape in (512, 1024, 2048, 4096):
        whole, rest = divmod(depth, shape)
        parts = [shape] * whole
        if rest:
            parts.append(1 << (rest - 1).bit_length())
        cost = sum(Ram(d, width).blocks(SHAPES) for d in parts) + len(parts) - 1
        if best is None or cost < best[0]:
            best = cost, parts
    assert best is not None
    return best[1]
