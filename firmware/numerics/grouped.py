"""Scales of groups: each row's as whole numbers of a unit of its own.

A row of a matrix has a scale for every `GROUP` inputs. The largest is `TOP` units, the others are
rounded to whole units: factors. So a row's sum is one of whole numbers, each group's sum times its
factor, and what it is multiplied with is one number a row.
"""

import numpy as np
from numpy.typing import NDArray

from setun.firmware.numerics.ternary import Bytes, Codes

GROUP = 128
"""Inputs that share a scale."""
FACTOR_BITS = 8
TOP = (1 << FACTOR_BITS) - 1
"""The largest factor."""


def factored(codes: Codes, scales: NDArray[np.float32]) -> tuple[Codes, Bytes, NDArray[np.float32]]:
    """Codes [m, n] and scales [m, n / 128] as codes, factors uint8 [m, n / 128] and units [m].

    A group whose scale is negative has its codes negated. Factors are
    ``round_half_even(|scale| * 255 / largest)``; a row of zeros has unit 0.
    """
    size = np.abs(scales).astype(np.float64)
    top = size.max(1, keepdims=True)
    factors = np.rint(size * TOP / (top + (top == 0.0))).astype(np.uint8)
    signs = np.where(scales < 0, np.int8(-1), np.int8(1))
    turned = codes.reshape(len(codes), -1, GROUP) * signs[:, :, None]
    return turned.reshape(codes.shape), factors, np.asarray(top[:, 0] / TOP, np.float32)


def levels(codes: Codes, factors: Bytes) -> NDArray[np.int16]:
    """Codes [m, n] times their groups' factors [m, n / 128]: -255 to 255."""
    shaped = codes.reshape(len(codes), -1, GROUP).astype(np.int16)
    return (shaped * factors[:, :, None]).reshape(codes.shape)
