"""Where a small chip's memories hold what: addresses of words of 16 bits."""

from setun.firmware.config import ChipConfig
from setun.hw.memory.controllers.spram import DEPTH

BLOCK = DEPTH
WEIGHT_BLOCKS = 3  # of single-port RAM that hold the weights; one more holds the constants
TEXT = 1 << 10  # words behind the weights that a terminal's tables take


def first_text(config: ChipConfig) -> int:
    """The end of what is for weights; a terminal's tables lie behind."""
    return WEIGHT_BLOCKS * BLOCK - TEXT * config.terminal


def first_gate(config: ChipConfig) -> int:
    """Gates among the constants: a multiple of a power of two."""
    unit = 1 << (config.state_elements - 1).bit_length()
    return -(-2 * config.constant_pairs // unit) * unit


def constants_end(config: ChipConfig) -> int:
    """Words that the constants take, gates included."""
    return first_gate(config) + config.state_elements


def first_state(config: ChipConfig) -> int:
    """State behind vectors and scalars: a power of two."""
    return 1 << (config.vector_elements + 7).bit_length()
