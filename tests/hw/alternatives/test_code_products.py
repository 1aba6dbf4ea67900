"""Products of attention's codes that were measured compute what they say."""

import numpy as np

from bench.pipeline import Job, check
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import Ints
from setun.hw.alternatives.code_products import MANTISSA, WIDTH, CodeLMul, CodeProduct

COUNT, SEED = 4000, 11


class Product(CodeProduct):
    """With what the bench of pipelines asks for."""

    fmt = Format()

    def model(self, a: Ints, b: Ints) -> Ints:
        x, y = np.where(a >> 17, a - (1 << 18), a), np.where(b >> 7, b - (1 << 8), b)
        return x * y & ((1 << WIDTH) - 1)


class LMulProduct(CodeLMul):
    fmt = Format()


def test_products_of_codes() -> None:
    """Random factors with the extremes first, and every pair of the shorter mantissas' ends."""
    rng = np.random.default_rng(SEED)
    ends = (np.array([0, 1 << 17, (1 << 17) - 1, 1 << 17]), np.array([5, 1 << 7, 127, 127]))
    a, b = (
        np.concatenate([end, rng.integers(0, 1 << bits, COUNT)])
        for end, bits in zip(ends, (18, 8), strict=True)
    )
    ones, small = rng.integers(0, 1 << MANTISSA, COUNT), rng.integers(0, 1 << 6, COUNT)
    places, signs = rng.integers(0, WIDTH - 2, COUNT), rng.integers(0, 2, COUNT)
    jobs = [
        Job(name=f"product_{adders:d}", unit=Product(adders=adders), inputs=(a, b))
        for adders in (False, True)
    ]
    jobs.append(Job(name="lmul", unit=LMulProduct(), inputs=(ones, small, places, signs)))
    check(jobs, seed=SEED)
