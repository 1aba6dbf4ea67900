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


class Sampler:
    """Argmax, or Gumbel-max: the largest logit/T + noise.

    Parameters
    ----------
    numerics
        Arithmetic of the chip.
    inverse_temperature
        1/T, rounded to the vector format; None for greedy.
    seed
        Generator seed; one draw a logit, lowest index first.
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
        logits = np.asarray(logits, np.float64)
        if self.factor is None:
            return int(np.argmax(logits))
        scaled = keys(self.arithmetic.mul(logits, self.factor))
        noise, self.generator = gumbel_noise(self.generator, len(scaled))
        return int(np.argmax(scaled + noise))
