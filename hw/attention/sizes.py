"""Numbers that the units of attention share: widths, and latencies of what they begin with."""

from amaranth.hdl import Shape, unsigned
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.firmware.numerics import attention as twin

CODE_BITS = twin.BYTE
WHOLE_BITS = twin.SCORE_LIMIT.bit_length() - 1  # of a score before its point, beside the sign
SCORE_BITS = WHOLE_BITS + twin.SCORE_FRACTION
TERM_BITS = twin.EXP_BITS + 1
FACTOR_BITS = TERM_BITS + 1  # a term, or the code of a query, with a sign


def position_shape(config: ChipConfig) -> Shape:
    """Shape of a position."""
    return unsigned(max(1, ceil_log2(config.positions)))


def word_shape(config: ChipConfig) -> Shape:
    """Shape of the number of a cache word among those of a position."""
    return unsigned(max(1, ceil_log2(config.cache_words)))


def parts_of(config: ChipConfig) -> int:
    """Most cache words of a head."""
    return -(-config.head_elements // config.attention)


def total_bits(config: ChipConfig) -> int:
    """Bits of a sum of a term for each position."""
    return TERM_BITS + ceil_log2(config.positions)


def sum_bits(config: ChipConfig) -> int:
    """Bits of a sum of a code times its term for each position, sign included."""
    return total_bits(config) + CODE_BITS
