"""What the chip computes with: the operations that `Numerics` chooses, bit for bit.

Every method rounds as the chip does. The golden model is composed of them, and so are the twins of
the gateware's units. Arrays are float64 of any shape; scalars of one token stream are Python
floats, which are several times faster than arrays of one.
"""

import math
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.numerics import functions
from setun.firmware.numerics.formats import Values
from setun.firmware.numerics.lmul import lmul, square
from setun.firmware.numerics.matmul import product
from setun.firmware.numerics.noise import round_stochastic
from setun.firmware.numerics.options import ACCUMULATOR, CODE, CODE_FRACTION, EXACT, Numerics

Codes = NDArray[np.floating[Any]]  # whole numbers
EXACT_LENGTH = 128  # fp8 codes that float32 sums exactly: 17 + 7 bits
SQUARE_BITS = 16  # of a magnitude that is squared, below the largest one's exponent
STAT_BITS = 12  # of an accumulator that is squared


class MeanSquare(IntEnum):
    """Which mean square joins the epsilon of a quantiser's norm, see `Arithmetic.quantise`."""

    OWN = 0  # of the vector itself, before its outer gain
    ARRAY = 1  # of the last matvec's rows: the gate projection, for g_norm
    NONE = 2  # there is no outer norm: the epsilon is added as it is
    UNIT = 3  # there is no norm at all: the vector is quantised as it is


class Arithmetic:
    """Rounded operations of one set of numerics.

    Parameters
    ----------
    numerics
        Formats and algorithms.
    """

    def __init__(self, numerics: Numerics) -> None:
        self.numerics = numerics
        self.fmt = numerics.vector
        self.unit = 2.0**-numerics.fraction

    def r(self, x: Any) -> Any:
        """One rounding to the vector format."""
        return self.fmt.round1(x) if isinstance(x, float) else self.fmt.round(x)

    def mul(self, a: Any, b: Any) -> Any:
        """Rounded product of numbers in the vector format."""
        if not self.numerics.lmul:
            return self.r(a * b)
        y = lmul(a, b, self.fmt.mantissa, self.numerics.segments)
        return self.r(float(y) if y.ndim == 0 else y)

    def scale(self, root: Any, top: Any) -> Any:
        """`root` times what `codes` makes of the maximum; a power of two costs no product."""
        return self.r(root * top) if self.numerics.fp8 else self.mul(top, root)

    def squares(self, a: Values) -> Values:
        """Squares of whole numbers, whole numbers."""
        n = self.numerics
        return square(np.abs(a), n.segments) if n.lmul else a * a

    def sigmoid(self, x: Values) -> Values:
        """Sigmoid by table, rounded."""
        return functions.sigmoid(self.fmt, x)

    def rsqrt(self, x: Any) -> Any:
        """1/sqrt(x); the largest number for 0."""
        if isinstance(x, float):
            return functions.rsqrt(self.fmt, x)
        with np.errstate(divide="ignore"):
            return self.fmt.round(np.minimum(1.0 / np.sqrt(x), self.fmt.largest))

    # ------------------------------------------------------------- ternary array
    def codes(self, t: Values, top: Any) -> tuple[Codes, Any]:
        """Codes of `t`, whose largest magnitude is `top`, and what a scale is made of.

        int8: floor(127*|t|/top + 1/2), and `top`. fp8: t over the power of two in `top`, rounded to
        (1,5,2), in units of 2**-CODE_FRACTION; and that power of two.
        """
        if self.numerics.fp8:
            _, e = math.frexp(top) if isinstance(top, float) else np.frexp(top)
            power = np.ldexp(0.5, e) * (top != 0.0)
            codes = CODE.round(t / (power + (power == 0.0))) * (1 << CODE_FRACTION)
            return codes.astype(np.float32), float(power) if isinstance(top, float) else power
        size = np.abs(t)
        size *= 127.0
        size /= top + (top == 0.0)  # all zeros stay zeros
        size += 0.5
        return np.copysign(np.floor(size, out=size), t, out=size).astype(np.float32), top

    def code_bits(self, codes: Codes) -> NDArray[np.int64]:
        """What the chip's slots hold for whole-number codes: 8 bits, as signed numbers."""
        if self.numerics.fp8:
            codes = CODE.to_bits(codes * self.unit).astype(np.int8)
        return codes.astype(np.int64)

    def sums(self, codes: Codes, weights: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Rows [.., m] of codes [.., n] times ternary weights [n, m], whole numbers.

        float32 holds every exact sum: 127*n < 2**24 up to 132,104 columns, and fp8's chunks.
        """
        if not self.numerics.fp8:
            return product(codes, weights)
        n = codes.shape[-1]
        chunk = self.numerics.accumulate
        if chunk == EXACT:
            return codes.astype(np.float64) @ weights.astype(np.float64)
        total = np.zeros(0)
        for k in range(0, n, chunk):
            part = codes[..., k : k + chunk], weights[k : k + chunk]
            exact = (
                product(*part) if chunk <= EXACT_LENGTH else part[0].astype(np.float64) @ part[1]
            )
            rounded = ACCUMULATOR.round(exact)
            total = rounded if k == 0 else ACCUMULATOR.round(total + rounded)
        return total

    def floats(self, sums: NDArray[np.floating[Any]]) -> Values:
        """Rows as numbers of the vector format."""
        return self.fmt.round(sums * self.unit if self.numerics.fp8 else sums)

    def rows(
        self,
        sums: NDArray[np.floating[Any]],
        scale: Any,
        factor: Any,
        row_scales: Values | None = None,
    ) -> tuple[Values, Any]:
        """Rows y = sums * s, and s, the product of a vector's scale and the weights'.

        Rows with scales [m] of their own take the product of s and theirs.
        """
        s = self.mul(scale, factor)
        times = s if row_scales is None else self.mul(np.asarray(s), row_scales)
        return self.mul(self.floats(sums), times), s

    # ------------------------------------------------------------- norms
    def sum_of_squares(self, x: Values) -> Any:
        """Sum of squares of magnitudes cut to `SQUARE_BITS` below the largest one's exponent."""
        a = np.abs(x)
        top = _largest(a)
        frexp, ldexp = (math.frexp, math.ldexp) if isinstance(top, float) else (np.frexp, np.ldexp)
        shift = SQUARE_BITS - frexp(top)[1]
        a *= ldexp(1.0, shift)
        total = self._sum_squares(np.floor(a, out=a))
        return self.r(total * ldexp(1.0, -2 * shift))

    def row_statistic(self, sums: NDArray[np.floating[Any]], shift: int, squared: Any) -> Any:
        """Sum of squares of the rows sums * s, from the accumulators without their low bits.

        `squared` is the product s * s.
        """
        total = self._sum_squares(np.floor(sums * 2.0**-shift).astype(np.float64))
        total *= (2.0**shift * self.unit) ** 2
        return self.mul(self.r(total), squared)

    def _sum_squares(self, a: Values) -> Any:
        """Exact sums of squares of whole numbers: their sum is below 2**53."""
        if a.ndim == 1:
            return float(a @ a) if not self.numerics.lmul else float(self.squares(a).sum())
        return self.squares(a).sum(-1, keepdims=True)

    def norm(
        self,
        top: Any,
        gained: Any,
        joining: Any,
        inverse_n: Any,
        eps: tuple[Any, Any],
        mean_square: MeanSquare,
    ) -> Any:
        """Scale top / sqrt(m2 + eps_inner * (m1 + eps_outer)) of a vector with folded norms.

        Parameters
        ----------
        top
            What `codes` makes of the largest |x * gain|.
        gained, joining
            Sums of squares of x * outer, whose mean is m2, and of what `mean_square` says, whose
            mean is m1. With NONE the epsilon is `eps_inner` as it is; with UNIT the scale is `top`.
        inverse_n
            1/n.
        eps
            Of the outer and the inner norm.
        """
        if mean_square is MeanSquare.UNIT:
            return top
        mul, r = self.mul, self.r
        m2 = mul(gained, inverse_n)
        epsilon = eps[1]
        if mean_square is not MeanSquare.NONE:
            epsilon = mul(epsilon, r(mul(joining, inverse_n) + eps[0]))
        return self.scale(self.rsqrt(r(m2 + epsilon)), top)

    def quantise(
        self,
        x: Values,
        outer: Values,
        gain: Values,
        inverse_n: float,
        eps: tuple[float, float],
        mean_square: MeanSquare,
        of_rows: Any,
    ) -> tuple[Codes, Any]:
        """Codes (whole numbers) and scale = max|x*gain| / rms of a BitLinear's input x [.., n].

        `of_rows` is the last `row_statistic`; the other arguments are as those of `norm`.
        """
        t, v = self.mul(x, gain), self.mul(x, outer)
        codes, top = self.codes(t, _largest(np.abs(t)))
        gained = self.sum_of_squares(v)
        joining = self.sum_of_squares(x) if mean_square is MeanSquare.OWN else of_rows
        return codes, self.norm(top, gained, joining, inverse_n, eps, mean_square)

    def head_norm(self, x: Values, gain: Values, eps: float) -> Values:
        """Heads x [.., heads, d] times `gain` [d] over sqrt(sum of squares + eps)."""
        root = self.rsqrt(self.r(self.sum_of_squares(x) + eps))
        return np.asarray(self.mul(self.mul(x, gain), root))

    # ------------------------------------------------------------- recurrent state
    def forget(self, u: Values, h: Values) -> Values:
        """What is left of a state, (1-u)*h, in `Numerics.wide`.

        L-Mul forms f*h from the smaller of f and 1-f: its error is relative, and what an error in
        f*h adds up to over a memory of 1/(1-f) tokens is relative to h only then.
        """
        wide, segments = self.numerics.wide, self.numerics.segments
        if not self.numerics.lmul:
            return wide.round(wide.round(1.0 - u) * h)
        return np.where(
            u <= 0.5,
            wide.round(h - wide.round(lmul(u, h, wide.mantissa, segments))),
            wide.round(lmul(wide.round(1.0 - u), h, wide.mantissa, segments)),
        )

    def remember(self, u: Values, h: Values, a: Values, noise: NDArray[np.int64] | None) -> Values:
        """State (1-u)*h + u*a, computed in `Numerics.wide`, in the state's format."""
        wide, state = self.numerics.wide, self.numerics.state
        total = wide.round(self.forget(u, h) + self.mul(u, a))
        if noise is not None:
            return round_stochastic(state, total, noise)
        return total if state == wide else state.round(total)


def _largest(size: Values) -> Any:
    """Largest of each row, a Python float of a single one."""
    return float(size.max()) if size.ndim == 1 else size.max(-1, keepdims=True)
