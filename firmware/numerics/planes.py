"""Weights of 243 levels on a ternary array: five planes of balanced trits, an exponent a row.

A weight is w = 2**g * sum(3**i * trit[i]), i from 0 to 4, and g its row's. So a row is five rows of
the array, joined by Horner's rule from the highest plane on, exactly; no scale is multiplied.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from setun.firmware.numerics.arithmetic import Arithmetic, Codes
from setun.firmware.numerics.formats import Values

PLANES = 5
TOP = (3**PLANES - 1) // 2
"""Largest sum of five trits, 121."""


class Planes(NamedTuple):
    """A matrix [m, n] of 243 levels."""

    trits: NDArray[np.int8]
    """[5, m, n] of -1, 0, 1; plane i counts 3**i."""
    exponent: NDArray[np.int64]
    """[m]: what a row's whole numbers are worth, as a power of two."""


def planes_of(weight: NDArray[np.float32]) -> Planes:
    """The nearest matrix of such levels; each row in units of the least power of two that fits."""
    top = np.abs(weight).max(1).astype(np.float64)
    fraction, exponent = np.frexp(top / TOP)
    exponent = np.where(fraction == 0.5, exponent - 1, exponent).astype(np.int64)
    whole = np.rint(np.ldexp(weight.astype(np.float64), -exponent[:, None])).astype(np.int16)
    trits = np.empty((PLANES, *weight.shape), np.int8)
    for plane in trits:
        digit = (whole + 1) % 3 - 1
        plane[:] = digit
        whole = (whole - digit) // 3
    return Planes(trits, exponent)


def whole_numbers(planes: Planes) -> NDArray[np.int64]:
    """The weights [m, n] in units of their rows: -121..121."""
    total = np.zeros(planes.trits.shape[1:], np.int64)
    for plane in planes.trits[::-1]:
        total = 3 * total + plane
    return total


def plane_sums(compute: Arithmetic, codes: Codes, planes: Planes) -> NDArray[Any]:
    """Rows [.., m] of codes [.., n] times all planes, whole numbers of each row's unit.

    With fp8 codes that are summed in chunks, what each plane's sum is rounded to is joined exactly.
    """
    total: NDArray[Any] = np.zeros(1)
    for plane in planes.trits[::-1]:
        sums = compute.sums(codes, np.ascontiguousarray(plane.T, np.float32))
        total = 3 * total + sums.astype(np.float64)
    return total


def plane_rows(compute: Arithmetic, codes: Codes, scale: Any, planes: Planes) -> Values:
    """Rows y = sums * 2**g * s of a vector's codes, s being what one of them is worth."""
    one = 1.0 if compute.numerics.fp8 else 1.0 / 127.0
    s = compute.mul(scale, compute.r(one))
    floats = compute.floats(np.ldexp(plane_sums(compute, codes, planes), planes.exponent))
    made: Values = compute.mul(floats, s)
    return made
