"""What the golden model computes with: the operations that `Numerics` chooses, bit for bit.

Every method rounds as the chip does. Arrays are float64 of any shape; scalars of one token stream
are Python floats, which are several times faster than arrays of one.
"""

import math
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
        y = lmul(a, b, self.fmt.mantissa)
        return self.r(float(y) if y.ndim == 0 else y)

    def scale(self, root: Any, top: Any) -> Any:
        """`root` times what `codes` makes of the maximum; a power of two costs no product."""
        return self.r(root * top) if self.numerics.fp8 else self.mul(top, root)

    def squares(self, a: Values) -> Values:
        """Squares of whole numbers, whole numbers."""
        return square(np.abs(a)) if self.numerics.lmul else a * a

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

    # ------------------------------------------------------------- recurrent state
    def remember(self, u: Values, h: Values, a: Values, noise: NDArray[np.int64] | None) -> Values:
        """State (1-u)*h + u*a in the state's format.

        The state is computed in `Numerics.wide`. L-Mul forms f*h from the smaller of f and 1-f: its
        error is relative, and what an error in f*h adds up to over a memory of 1/(1-f) tokens is
        relative to h only then.
        """
        wide, state = self.numerics.wide, self.numerics.state
        if self.numerics.lmul:
            forgotten = np.where(
                u <= 0.5,
                wide.round(h - wide.round(lmul(u, h, wide.mantissa))),
                wide.round(lmul(wide.round(1.0 - u), h, wide.mantissa)),
            )
        else:
            forgotten = wide.round(wide.round(1.0 - u) * h)
        total = wide.round(forgotten + self.mul(u, a))
        if noise is not None:
            return round_stochastic(state, total, noise)
        return total if state == wide else state.round(total)
