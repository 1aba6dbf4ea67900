"""Sampling: a token from logits, by argmax or by Gumbel-max with a seeded generator."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from setun.firmware.numerics import functions
from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.formats import Values
from setun.firmware.numerics.options import Numerics

Ints = NDArray[np.int64]


def keys(numbers: Values) -> Ints:
    """Sampling keys of logits over T: whole numbers in 1/1024, cut towards zero and saturated."""
    size = np.floor(np.abs(numbers) * (1 << functions.NOISE_FRACTION))
    return np.copysign(np.minimum(size, functions.KEY_LIMIT - 1), numbers).astype(np.int64)


def gumbel_noise(generator: int, count: int) -> tuple[Ints, int]:
    """The next `count` numbers in 1/1024, and the generator behind them."""
    noise = np.empty(count, np.int64)
    for k in range(count):
        generator = functions.xorshift32(generator)
        noise[k] = functions.gumbel(generator)
    return noise, generator


def sample(
    compute: Arithmetic, logits: Values, factor: float | None, generator: int
) -> tuple[int, int]:
    """The token of logits, and the generator behind it; the lowest index wins ties.

    Parameters
    ----------
    factor
        1/T in the vector format; None for greedy, which draws nothing.
    generator
        State of the noise; one draw a logit, lowest index first.
    """
    if factor is None:
        return int(np.argmax(logits)), generator
    scaled = keys(compute.mul(logits, factor))
    noise, generator = gumbel_noise(generator, len(scaled))
    return int(np.argmax(scaled + noise)), generator


class Sampler:
    """Argmax, or Gumbel-max: the largest logit/T + noise.

    Parameters
    ----------
    numerics
        Arithmetic of the chip.
    inverse_temperature
        1/T, rounded to the vector format; None for greedy.
    seed
        Generator seed.
    """

    def __init__(
        self, numerics: Numerics, inverse_temperature: float | None, seed: int = 0
    ) -> None:
        self.arithmetic = Arithmetic(numerics)
        self.factor = None
        if inverse_temperature is not None:
            self.factor = self.arithmetic.r(float(inverse_temperature))
        self.generator = functions.seed_state(seed)

    def __call__(self, logits: ArrayLike) -> int:
        """The next token; the lowest index wins ties."""
        numbers = np.asarray(logits, np.float64)
        token, self.generator = sample(self.arithmetic, numbers, self.factor, self.generator)
        return token
