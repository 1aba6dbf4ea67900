"""The chip's elementary functions, defined once: tables and integer arithmetic.

Gateware takes its ROM contents from here and the golden model evaluates the same integers, so
the two can only differ in wiring. Accuracy against the true functions is tested.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from setun.firmware.numerics.formats import Format, Values

Ints = NDArray[np.int64]

# ---------------------------------------------------------------- sigmoid
SIGMOID_STEPS = 32  # segments per unit of |x|
SIGMOID_RANGE = 16  # beyond it sigmoid(-|x|) < 2**-23: the last value holds
SIGMOID_FRACTION = 8  # bits of position inside a segment
SIGMOID_BITS = 13  # fraction bits of a segment's significand
SIGMOID_SEGMENTS = SIGMOID_STEPS * SIGMOID_RANGE
SIGMOID_ARGUMENT = 5 + SIGMOID_FRACTION  # fraction bits of the fixed-point argument


@lru_cache(maxsize=1)
def sigmoid_table() -> tuple[Ints, Ints, Ints]:
    """Segments of s(a) = sigmoid(-a), a in [0, 16): (base, drop, exponent), 512 each.

    Within segment k, s = (base - drop*t) * 2**-(exponent+13) for t in [0, 1): linear between
    exact end points; base is in [2**13, 2**14), drop below 2**9, exponent in 1..24.
    """
    edges = 1.0 / (1.0 + np.exp(np.arange(SIGMOID_SEGMENTS + 1) / SIGMOID_STEPS))
    _, e = np.frexp(edges[:-1])
    exponent = 1 - e.astype(np.int64)
    scale = np.ldexp(1.0, exponent + SIGMOID_BITS)
    base = np.rint(edges[:-1] * scale).astype(np.int64)
    drop = base - np.rint(edges[1:] * scale).astype(np.int64)
    return base, drop, exponent


def sigmoid_exact(fmt: Format, x: Values) -> Values:
    """The definition of the chip's sigmoid for representable `x` (any shape).

    a = min(floor(|x| * 2**13), 16*2**13 - 1) picks a segment (a >> 8) and a position (a & 255).
    Negative x takes s itself; x >= 0 takes 1 - s, with s cut to 16 fraction bits.
    The result is rounded once to `fmt`. Relative error before that is below 2**-12.
    """
    base, drop, exponent = sigmoid_table()
    limit = float((SIGMOID_RANGE << SIGMOID_ARGUMENT) - 1)
    a = np.minimum(np.floor(np.abs(x) * (1 << SIGMOID_ARGUMENT)), limit).astype(np.int64)
    k = a >> SIGMOID_FRACTION
    t = a & ((1 << SIGMOID_FRACTION) - 1)
    half = 1 << (SIGMOID_FRACTION - 1)
    p = base[k] - ((drop[k] * t + half) >> SIGMOID_FRACTION)
    below = np.ldexp(p.astype(np.float64), -(exponent[k] + SIGMOID_BITS))
    above = (1 << 16) - ((p << 3) >> exponent[k])
    return fmt.round(np.where(x < 0.0, below, above * 2.0**-16))


@lru_cache(maxsize=8)
def _sigmoid_lookup(fmt: Format) -> tuple[int, int, Values]:
    """Every distinct result of `sigmoid_exact`, indexed by the top bits of |x| and the sign."""
    shift = 52 - fmt.mantissa
    low = (1023 - SIGMOID_ARGUMENT - 1) << fmt.mantissa  # below 2**-13 the position is 0
    count = ((1023 + 4) << fmt.mantissa) - low + 1
    keys = (np.arange(count, dtype=np.int64) + low) << shift
    size = keys.view(np.float64)
    size[0] = 0.0
    return low, count, np.concatenate([sigmoid_exact(fmt, size), sigmoid_exact(fmt, -size)])


def sigmoid(fmt: Format, x: Values) -> Values:
    """`sigmoid_exact`, by one table look-up; `x` float64 of any shape, representable."""
    low, count, table = _sigmoid_lookup(fmt)
    key = np.abs(x).view(np.int64) >> (52 - fmt.mantissa)
    key -= low
    np.maximum(key, 0, out=key)
    np.minimum(key, count - 1, out=key)
    key += (x < 0.0) * count
    return table.take(key)


# ---------------------------------------------------------------- scalars
def rsqrt(fmt: Format, x: float) -> float:
    """1/sqrt(x) rounded once to `fmt`, x > 0 representable; 0 gives the largest number."""
    return fmt.largest if x <= 0.0 else fmt.round1(1.0 / math.sqrt(x))


@lru_cache(maxsize=8)
def rsqrt_table(fmt: Format) -> Ints:
    """Mantissa fields of 1/sqrt(m): 2**M entries for m in [1, 2), then 2**M for m in [2, 4).

    The result's exponent is 0 for m = 1 exactly (entry 0) and -1 for every other entry.
    """
    n = 1 << fmt.mantissa
    m = np.concatenate([1.0 + np.arange(n) / n, 2.0 + 2.0 * np.arange(n) / n])
    return fmt.to_bits(1.0 / np.sqrt(m)).astype(np.int64) & (n - 1)


def code_bits(fmt: Format) -> int:
    """K, the fraction bits of `code_reciprocals`."""
    return 2 * fmt.mantissa + 3


@lru_cache(maxsize=8)
def code_reciprocals(fmt: Format) -> Ints:
    """ceil(127 * 2**K / m) for significands m in [2**M, 2**(M+1)): exact int8 codes by a product.

    With K = 2M+3 the excess over 127*t/m is below t*2**-K <= 2**-(M+2), half the distance from
    any quotient that is not a tie to the next tie, and rounding up keeps ties away from zero.
    """
    m = np.arange(1 << fmt.mantissa, 2 << fmt.mantissa, dtype=np.int64)
    return -((-127 << code_bits(fmt)) // m)


# ---------------------------------------------------------------- sampling
NOISE_FRACTION = 10  # fraction bits of sampling keys and of the noise
KEY_LIMIT = 1 << 21  # keys before noise saturate at +-2048
LN2_FIXED = round(math.log(2.0) * (1 << NOISE_FRACTION))
NO_SEED = 0x9E3779B9  # state that stands in for 0, which xorshift never leaves


def xorshift32(state: int) -> int:
    """Next state of Marsaglia's xorshift generator (13, 17, 5); never 0 from a state not 0."""
    state ^= (state << 13) & 0xFFFFFFFF
    state ^= state >> 17
    return state ^ ((state << 5) & 0xFFFFFFFF)


def seed_state(seed: int) -> int:
    """Generator state for a user's seed: splitmix32's finaliser, so that 1, 2, 3 are far apart."""
    z = (seed + 1) * 0x9E3779B9 & 0xFFFFFFFF
    z = (z ^ (z >> 16)) * 0x85EBCA6B & 0xFFFFFFFF
    z = (z ^ (z >> 13)) * 0xC2B2AE35 & 0xFFFFFFFF
    return (z ^ (z >> 16)) or NO_SEED


@lru_cache(maxsize=1)
def gumbel_table() -> Ints:
    """-ln(-ln(1-v)) in 1/1024, for v = 2**-(k+1) * (1 + (j+1/2)/64), at index 64*k + j, k < 8."""
    k, j = np.divmod(np.arange(512), 64)
    v = np.ldexp(1.0 + (j + 0.5) / 64.0, -(k + 1))
    return np.rint(-np.log(-np.log1p(-v)) * (1 << NOISE_FRACTION)).astype(np.int64)


def gumbel(uniform: int) -> int:
    """Gumbel noise in 1/1024 from a 32-bit uniform integer that is not 0.

    v = uniform/2**32 has k leading zeros and six bits j behind its leading one. Small v, the
    only ones that win an argmax, keep full relative precision: beyond k = 7 the noise grows by
    ln 2 an octave.
    """
    zeros = 32 - uniform.bit_length()
    j = (uniform << (zeros + 1) & 0xFFFFFFFF) >> 26
    table = gumbel_table()
    return int(table[64 * min(zeros, 7) + j]) + LN2_FIXED * max(zeros - 7, 0)
