"""Five-trit weights: a row of floats in 243 levels, whose digits are ternary.

A level is the sum of t_k * 3**k over five trits, from -121 to 121, and stands for level * scale, of
which a row has one. So a matrix is five ternary ones, its planes: no multiplier takes a level.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.numerics.ternary import Codes

PLANES = 5
TOP = (3**PLANES - 1) // 2
"""The largest level."""


def quantise_rows(w: NDArray[np.float32]) -> tuple[Codes, NDArray[np.float32]]:
    """Levels int8 [m, n] and scales float32 [m] of weights [m, n], by each row's absmax.

    ``round_half_even(w * 121 / absmax)``, as absmean rounds; a row of zeros has scale 0.
    """
    top = np.abs(w).max(1, keepdims=True).astype(np.float64)
    levels = w.astype(np.float64) * TOP
    levels /= top + (top == 0.0)
    return np.rint(levels).astype(np.int8), np.asarray(top[:, 0] / TOP, np.float32)


def planes_of(levels: Codes) -> Codes:
    """Trits int8 [5, ..] of levels [..], those of 3**0 first."""
    return np.moveaxis(_TRITS[levels.astype(np.int64) + TOP], -1, 0)


def joined(planes: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Sums [..] from those of the planes [5, ..], least one first; exact below 2**53."""
    return np.tensordot(3.0 ** np.arange(PLANES), np.asarray(planes, np.float64), 1)


def _trits() -> Codes:
    places = np.arange(3**PLANES)[:, None] // 3 ** np.arange(PLANES) % 3
    return (places - 1).astype(np.int8)


_TRITS = _trits()
"""int8 [243, 5]: of each level, from -121 up. Level + 121 in base 3 has each trit + 1."""
