"""Products of chip-sized matrices, spared from the BLAS's threads."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

ROWS = 4
"""Rows at a time. As fast as all at once, for 128x384 weights that fit the cache."""


def product(x: Array, weights: Array) -> Array:
    """x [.., n] @ weights [n, m], a few rows at a time.

    OpenBLAS runs larger products of this size in threads, whose barriers cost up to 100 times
    the product when the machine is busy.
    """
    if x.ndim == 1:
        return x @ weights
    rows = math.prod(x.shape[:-1])
    few = x.reshape(-1, math.gcd(rows, ROWS), x.shape[-1])
    return (few @ weights).reshape(*x.shape[:-1], weights.shape[1])
