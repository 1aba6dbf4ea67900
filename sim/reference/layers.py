"""Pieces of float references, as upstream computes them: norms, activations, BitLinear, a scan."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.numerics.matmul import product
from setun.firmware.numerics.ternary import absmean

Array = NDArray[np.float32]
Ids = NDArray[np.integer[Any]]
Trace = dict[str, NDArray[Any]]

ROWS_AT_ONCE = 4096
"""Tokens per pass of a batch: more only spills the caches."""

BITLINEAR_EPS = 1e-6
"""Epsilon of the norm inside BitLinear, whatever rms_norm_eps says (upstream's default)."""

ABSMAX_FLOOR = np.float32(1e-5)

EXACT_IN_FLOAT32 = (1 << 24) // 127
"""Widest dot product of int8 and ternary codes that float32 accumulates exactly."""


def rms_norm(x: Array, gain: Array, eps: float) -> Array:
    """x [..., n] over its root mean square, times gain [n]."""
    mean = np.mean(x * x, axis=-1, keepdims=True, dtype=np.float32)
    return x * np.reciprocal(np.sqrt(mean + np.float32(eps))) * gain


def round_half_away(x: Array) -> Array:
    """C's ``roundf``, which upstream's activation kernel uses (weights round half to even)."""
    whole = np.trunc(x)
    return whole + np.copysign(np.abs(x - whole) >= np.float32(0.5), x)


def absmax(y: Array, rounded: Callable[[Array], Array] = round_half_away) -> tuple[Array, Array]:
    """Quantise rows: codes q [..., n], whole numbers -127..127 in float32, and a [..., 1],
    the codes per unit, so that y ≈ q / a."""
    a = np.float32(127) / np.maximum(np.max(np.abs(y), axis=-1, keepdims=True), ABSMAX_FLOOR)
    return np.clip(rounded(y * a), -128, 127), a


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x)."""
    with np.errstate(over="ignore"):  # e^-x = inf gives the right 0
        return np.float32(1) / (np.float32(1) + np.exp(-x))


def swiglu(x: Array, y: Array) -> Array:
    """silu(x) * y."""
    with np.errstate(over="ignore"):
        return np.divide(x * y, np.float32(1) + np.exp(-x))


def scan(i: Array, f: Array, h: Array) -> Array:
    """MLGRU over time: h[t] = f[t] * h[t-1] + i[t]; i and f [B, T, D], h [B, D] → [B, T, D]."""
    out = np.empty_like(i)
    for t in range(i.shape[1]):
        h = f[:, t] * h + i[:, t]
        out[:, t] = h
    return out


def attend(q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    """Causal attention; the queries belong to the last positions of keys and values.

    Parameters
    ----------
    q, k, v
        [B, T, heads, d], [B, S, key_value_heads, d] twice.

    Returns
    -------
    out
        [B, T, heads * d].
    probabilities
        [B, heads, T, S].
    """
    batch, t, heads, d = q.shape
    s, shared = k.shape[1:3]
    grouped = q.reshape(batch, t, shared, heads // shared, d).transpose(0, 2, 3, 1, 4)
    scores = grouped @ k.transpose(0, 2, 3, 1)[:, :, None] * np.float32(d**-0.5)
    later = np.arange(s) > np.arange(s - t, s)[:, None]
    scores = np.where(later, np.float32(-np.inf), scores)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    out = p @ v.transpose(0, 2, 1, 3)[:, :, None]
    together = out.transpose(0, 3, 1, 2, 4).reshape(batch, t, heads * d)
    return together, p.reshape(batch, heads, t, s)


@dataclass(frozen=True)
class BitLinear:
    """A ternary projection with its own input norm: x [..., n] → [..., m]."""

    codes: Array
    """[m, n] of -1, 0, 1, in the float type whose dot products are exact."""
    scale: np.float32
    gain: Array
    eps: float = BITLINEAR_EPS

    @classmethod
    def quantise(cls, weight: Array, gain: Array, eps: float = BITLINEAR_EPS) -> "BitLinear":
        """From float weights [m, n], gains [n] and the epsilon of the norm."""
        codes, scale = absmean(weight)
        exact = np.float32 if weight.shape[1] <= EXACT_IN_FLOAT32 else np.float64
        return cls(codes.astype(exact), scale, gain, eps)

    def __call__(self, x: Array, trace: Trace | None = None, name: str = "") -> Array:
        q, a = absmax(rms_norm(x, self.gain, self.eps))
        y: Array = (product(q, self.codes.T) * (self.scale / a)).astype(np.float32, copy=False)
        if trace is not None:
            trace |= {name: y, name + ".xq": q.astype(np.int8), name + ".xscale": a[..., 0]}
        return y
