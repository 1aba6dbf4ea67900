"""Attention on the chip, bit for bit: codes with powers of two as scales, and exact sums.

Queries, keys and values are whole numbers of a few bits, each head in units of the least power of
two that holds it. So scores and weighted sums are exact sums of whole numbers with exponents: no
scale is multiplied, none is divided by, and the order of a sum changes nothing. Scores are kept
until their largest is known, so no sum is ever scaled anew.

A query has log2(e) / sqrt(d) in it: e to the power of a score is 2**y. (The factor belongs to the
weight scale of its projection, or to the gain of its norm; RoPE is linear.) With y = k + f, k
whole, 2**y is a number of 17 bits, 2**f, shifted by how far k lies below the largest.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.formats import Format, Values
from setun.firmware.numerics.options import Numerics

Ints = NDArray[np.int64]

BYTE = 8
"""Bits of a code with its sign, in a memory of bytes; block RAM has ninth bits."""
SEGMENT_BITS = 6  # segments of f
POSITION_BITS = 8  # of a position inside a segment
EXP_BITS = 16  # fraction bits of 2**f
SCORE_FRACTION = SEGMENT_BITS + POSITION_BITS
SCORE_LIMIT = 1 << 15  # y beyond saturates


@lru_cache(maxsize=1)
def exp2_table() -> tuple[Ints, Ints]:
    """2**f at the segments' beginnings and what it gains to their ends, in 2**-16: [64] each.

    The first are below 2**17, the second below 2**11.
    """
    edges = np.exp2(np.arange((1 << SEGMENT_BITS) + 1) * 2.0**-SEGMENT_BITS)
    whole = np.rint(edges * (1 << EXP_BITS)).astype(np.int64)
    return whole[:-1], np.diff(whole)


def exp2(y: Values) -> tuple[Ints, Ints]:
    """2**y of scores: e in 2**-16, 2**16 to 2**17, and k, so that 2**y is e * 2**(k - 16).

    y is cut to `SCORE_FRACTION` bits and to below `SCORE_LIMIT`. The relative error of e * 2**-16
    to 2**f of what is left is below 2**-15.
    """
    fixed = np.floor(np.asarray(y) * (1 << SCORE_FRACTION))
    limit = SCORE_LIMIT << SCORE_FRACTION
    x = np.clip(fixed, -limit, limit - 1).astype(np.int64)
    base, gain = exp2_table()
    j = x >> POSITION_BITS & ((1 << SEGMENT_BITS) - 1)
    t = x & ((1 << POSITION_BITS) - 1)
    half = 1 << (POSITION_BITS - 1)
    return base[j] + ((gain[j] * t + half) >> POSITION_BITS), x >> SCORE_FRACTION


def reciprocal(fmt: Format, x: Values) -> Values:
    """1/x of representable x above 0, rounded once."""
    return fmt.round(1.0 / x)


class Heads(NamedTuple):
    """Heads as codes."""

    codes: Values
    """[.., d], whole numbers."""
    exponent: Ints
    """[..]: a code is worth 2**exponent."""


class Attention:
    """The attention of one token.

    Parameters
    ----------
    numerics
        Vector format and products.
    code_bits
        Of a code, sign included.
    """

    def __init__(self, numerics: Numerics, code_bits: int = BYTE) -> None:
        self.compute = Arithmetic(numerics)
        self.magnitude = code_bits - 1

    def coded(self, x: Values) -> Heads:
        """Heads [.., d] as codes, rounded half away from zero; what would be 2**7 is 2**7 - 1.

        The unit of a head of zeros is the least, so that it is no other's.
        """
        top = np.abs(x).max(-1)
        least = 1 - self.compute.fmt.bias
        exponent = np.where(top > 0, np.frexp(top)[1], least).astype(np.int64) - self.magnitude
        codes = np.floor(np.ldexp(np.abs(x), -exponent[..., None]) + 0.5)
        return Heads(np.copysign(np.minimum(codes, 2**self.magnitude - 1), x), exponent)

    def scores(self, query: Heads, keys: Heads) -> Values:
        """Scores y [.., heads, T] of queries [.., heads, d] and keys [.., T, shared, d], rounded.

        Query head j has the keys of head ``j // (heads / shared)``.
        """
        heads, shared = query.codes.shape[-2], keys.codes.shape[-2]
        sums = _grouped(query.codes, shared) @ np.moveaxis(keys.codes, -3, -1)
        of_keys = np.moveaxis(keys.exponent, -2, -1)[..., None, :]
        exponent = _grouped(query.exponent[..., None], shared) + of_keys
        y: Values = self.compute.r(np.ldexp(sums, exponent))
        return y.reshape(*y.shape[:-3], heads, y.shape[-1])

    def weighted(self, y: Values, values: Heads) -> Values:
        """Mean of values [.., T, shared, d] by their scores [.., heads, T]: [.., heads, d].

        Numerators and denominators have each its own unit, that of the largest term.
        """
        e, k = exp2(y)
        highest = k.max(-1, keepdims=True)
        total = _shifted(e, highest - k).sum(-1, keepdims=True)
        shared = values.codes.shape[-2]
        of_terms = _grouped(k, shared) + np.moveaxis(values.exponent, -2, -1)[..., None, :]
        most = of_terms.max(-1, keepdims=True)
        terms = _shifted(_grouped(e, shared), most - of_terms).astype(np.float64)
        sums = terms @ np.moveaxis(values.codes, -3, -2)
        sums = sums.reshape(*y.shape[:-1], sums.shape[-1])
        fmt, r = self.compute.fmt, self.compute.r
        mean = self.compute.mul(r(sums), reciprocal(fmt, fmt.round(total)))
        made: Values = r(np.ldexp(mean, most.reshape(highest.shape) - highest))
        return made

    def __call__(self, query: Values, keys: Heads, values: Heads) -> Values:
        """Outputs [.., heads, d] of queries [.., heads, d] over a cache."""
        return self.weighted(self.scores(self.coded(query), keys), values)


def _grouped(x: NDArray[Any], shared: int) -> NDArray[Any]:
    """Heads [.., heads, n] as [.., shared, heads / shared, n]."""
    return x.reshape(*x.shape[:-2], shared, x.shape[-2] // shared, x.shape[-1])


def _shifted(e: Ints, by: Ints) -> Ints:
    """Shifted right, 0 from 63 places on."""
    return e >> np.minimum(by, 63)
