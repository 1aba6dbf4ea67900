"""Noise that rounds the recurrent state: one generator per conversation, a window per element.

The generator (xorshift32) steps once a token. Element k of the state takes 8 of its bits: a window
that moves by 11 bits from element to element, its upper bits flipped by those of k // 32. So the
noise of an element depends on seed, position and element, and on nothing that a chip may choose.
"""

import numpy as np
from numpy.typing import NDArray

from setun.firmware.numerics.formats import Format, Values
from setun.firmware.numerics.functions import seed_state, xorshift32

NOISE_BITS = 8
STRIDE = 11  # bits from one element's window to the next one's; odd, so that all 32 come up


def first_state(seed: int) -> int:
    """Generator before the first token of a conversation."""
    return seed_state(seed)


def next_state(state: int) -> int:
    """Generator for the next token."""
    return xorshift32(state)


def state_noise(state: int, first: int, count: int) -> NDArray[np.int64]:
    """Noise in 0..255 of elements `first` to `first` + `count` - 1 of the recurrent state."""
    k = np.arange(first, first + count, dtype=np.int64)
    turn = STRIDE * k % 32
    window = ((state << turn) | (state >> (32 - turn))) & ((1 << NOISE_BITS) - 1)
    return window ^ (k >> 5 << NOISE_BITS - 5 & ((1 << NOISE_BITS) - 1))


def round_stochastic(fmt: Format, x: Values, noise: NDArray[np.int64]) -> Values:
    """`x` to `fmt`, up with the probability of what it drops; broadcast.

    `x` has `NOISE_BITS` more mantissa bits than `fmt`: the noise is added there, and the bits
    are dropped. (Gupta et al., arXiv 1502.02551; Wang et al., arXiv 1812.08011.)
    """
    drop = 52 - fmt.mantissa
    bits = np.ascontiguousarray(np.abs(x)).view(np.int64)
    bits = (bits + (noise << (drop - NOISE_BITS))) & np.int64(-1 << drop)
    size = np.minimum(bits.view(np.float64), fmt.largest)
    return np.where(x == 0.0, 0.0, np.copysign(size, x))
