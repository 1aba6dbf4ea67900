"""Products with packed weights: those of expanded ones, to the bit."""

from dataclasses import replace

import numpy as np
import pytest

from setun.firmware.config import PACKINGS
from setun.firmware.image.image import Image
from setun.firmware.numerics import ternary
from setun.firmware.numerics.options import PRESETS, Numerics
from setun.models.random import random_image
from setun.sim import weights
from setun.sim.folded import FoldedModel
from setun.sim.golden import GoldenModel

IMAGE = random_image((72, 2, 96))
TOKENS = [3, 60, 0, 17, 17]


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights are kept expanded, and but a few are expanded or looked up at a time."""
    monkeypatch.setattr(weights, "KEPT", 0)
    monkeypatch.setattr(weights, "BYTES", 100)
    monkeypatch.setattr(ternary, "BLOCK", 1000)


def logits(image: Image, numerics: Numerics, batch: int | None = None) -> list[np.ndarray]:
    model, found = GoldenModel(image, numerics, batch), []
    for token in TOKENS:
        model.feed(token if batch is None else np.arange(batch) + token % 8)
        found.append(model.logits())
    return found


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("name", ["default", "fp8"])
@pytest.mark.parametrize("batch", [None, 5])
def test_golden_models_agree(
    name: str, packing: str, batch: int | None, request: pytest.FixtureRequest
) -> None:
    numerics = PRESETS[name]
    wanted = logits(IMAGE, numerics, batch)
    request.getfixturevalue("packed")
    for a, b in zip(wanted, logits(replace(IMAGE, packing=packing), numerics, batch), strict=True):
        np.testing.assert_array_equal(a, b)


def test_folded_models_agree(request: pytest.FixtureRequest) -> None:
    ids = np.array([TOKENS, TOKENS[::-1]])
    wanted = FoldedModel(IMAGE).forward_batch(ids)
    request.getfixturevalue("packed")
    np.testing.assert_array_equal(wanted, FoldedModel(IMAGE).forward_batch(ids))
