"""RoPE on the chip: phases of 24 bits, and cosines from one table of a turn.

A pair i of a head's elements turns by theta**(-2i/d) radians a position. Its phase is a whole
number, position times increment modulo a turn; nothing is kept for each position.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.formats import Format, Values

Ints = NDArray[np.int64]

PHASE_BITS = 24
"""Of a turn. Increments are off by half a unit: 8e-4 radians after 4,096 positions, which is what
the vector format's last bit is worth."""
QUARTER = 1 << (PHASE_BITS - 2)
STEP_BITS = 10  # segments of a turn
POSITION_BITS = 8  # of a position inside a segment
FRACTION = 17  # of a cosine


def increments(theta: float, width: int) -> Ints:
    """Phase that each pair of a head `width` wide gains a position: [width / 2]."""
    pairs = np.arange(width // 2) * (2.0 / width)
    return np.rint(theta**-pairs * ((1 << PHASE_BITS) / math.tau)).astype(np.int64)


def phases(increment: Ints, position: int | Ints) -> Ints:
    """Phases at a position, counted from 0."""
    return position * increment & ((1 << PHASE_BITS) - 1)


@lru_cache(maxsize=1)
def cosine_table() -> tuple[Ints, Ints]:
    """Cosines at the segments' beginnings and what each gains to its end, in 2**-17.

    [1024] of -2**17..2**17, and of -805..805.
    """
    turn = np.arange((1 << STEP_BITS) + 1) * (math.tau / (1 << STEP_BITS))
    edges = np.rint(np.cos(turn) * (1 << FRACTION)).astype(np.int64)
    return edges[:-1], np.diff(edges)


def cosine(fmt: Format, phase: Ints) -> Values:
    """Cosine of phases modulo a turn, linear inside a segment, rounded once to `fmt`.

    Its absolute error before that is below 2**-15.
    """
    base, gain = cosine_table()
    phase = phase & ((1 << PHASE_BITS) - 1)
    k = phase >> (PHASE_BITS - STEP_BITS)
    t = phase >> (PHASE_BITS - STEP_BITS - POSITION_BITS) & ((1 << POSITION_BITS) - 1)
    half = 1 << (POSITION_BITS - 1)
    return fmt.round((base[k] + ((gain[k] * t + half) >> POSITION_BITS)) * 2.0**-FRACTION)


def sine(fmt: Format, phase: Ints) -> Values:
    """Sine, likewise: the cosine of a quarter of a turn before."""
    return cosine(fmt, phase - QUARTER)


def rotated(compute: Arithmetic, x: Values, phase: Ints) -> Values:
    """Heads x [.., heads, d] turned by the phases [d / 2], pairs being (i, i + d/2).

    With the paper's L-Mul products are exact ones, rounded: its error is common to a pair's queries
    and keys at many positions, and costs some models a hundred times what it costs elsewhere.
    """
    c, s = cosine(compute.fmt, phase), sine(compute.fmt, phase)
    a, b = np.split(x, 2, axis=-1)
    r, numerics = compute.r, compute.numerics
    by = compute.mul if numerics.lmul_in_rope else lambda x, turn: r(x * turn)
    turned: list[Any] = [r(by(a, c) - by(b, s)), r(by(b, c) + by(a, s))]
    return np.concatenate(turned, axis=-1)
