"""Codes of a cache in other forms: what each makes of heads; the chip's own are golden's."""

import numpy as np
import pytest
from numpy.typing import NDArray

from setun.firmware.numerics.attention import Heads
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import Numerics
from setun.models.load import load_model
from setun.sim.evaluate import score_golden
from setun.sim.studies import cache

HEADS = np.random.default_rng(7).normal(size=(50, 4, 32)) * 2.0 ** np.arange(-25, 25)[:, None, None]


def values(heads: Heads) -> NDArray[np.float64]:
    return np.ldexp(heads.codes, heads.exponent[..., None])


def test_levels_are_shares_of_a_heads_largest() -> None:
    found, top = values(cache.in_levels(121)(HEADS)), np.abs(HEADS).max(-1, keepdims=True)
    assert np.abs(found - HEADS).max() <= (top / 121 / 2).max() * 1.001
    steps = found / top * 121
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    assert len(np.unique(np.rint(steps))) > 100


@pytest.mark.parametrize("fmt", [Format(4, 3), Format(5, 2)], ids=str)
def test_a_small_floats_exponents_count_from_a_heads_largest(fmt: Format) -> None:
    """Relative errors of half a step, whatever the head's size; one bit less doubles them."""
    found = values(cache.in_format(fmt)(HEADS))
    near = np.abs(HEADS) > np.abs(HEADS).max(-1, keepdims=True) * 2.0**-10
    error = np.abs(found / HEADS - 1)[near].max()
    half = 2.0 ** -(fmt.mantissa + 1)
    assert 0.7 * half < error <= half
    zeros = cache.in_format(fmt)(np.zeros((2, 4)))
    assert not zeros.codes.any()


def test_the_chips_codes_are_the_golden_models() -> None:
    image = load_model(cache.MODEL)
    ids = np.random.default_rng(8).integers(0, image.vocab_size, (2, 24))
    chips, coarse = (
        score_golden(image, Numerics(), ids, np.ones(ids.shape, bool), kind=cache.model(coding))
        for coding in (8, 3)
    )
    golden = score_golden(image, Numerics(), ids, np.ones(ids.shape, bool))
    assert chips.loss == golden.loss and coarse.loss != golden.loss
