"""Speed bars of the golden model, in processor time so that a busy machine does not matter."""

import time

import numpy as np
import pytest

from setun.models.load import load_model
from setun.sim.golden import GoldenModel

pytestmark = pytest.mark.slow


def test_one_by_one() -> None:
    model, tokens = GoldenModel(load_model("shakespeare")), 300
    model.feed(0)
    model.logits()
    start = time.process_time()
    for token in range(tokens):
        model.feed(token % 65)
        model.logits()
    assert tokens / (time.process_time() - start) >= 150


def test_batched() -> None:
    model, steps = GoldenModel(load_model("shakespeare"), batch=80), 32
    ids = np.random.default_rng(0).integers(0, 65, (steps + 1, 80))
    model.feed(ids[-1])
    start = time.process_time()
    for t in range(steps):
        model.feed(ids[t])
        model.logits()
    assert (time.process_time() - start) / (80 * steps) * 20_000 < 30
