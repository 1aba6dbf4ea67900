"""What docs/numerics.md claims of scales of groups, on fewer tokens."""

import numpy as np

from setun.sim.studies import groups


def test_eight_bits_cost_far_less_than_inputs() -> None:
    found = dict(groups.prices(0.3, np.random.default_rng(1).integers(0, 256, (2, 24))))
    inputs, factors = found["int8 inputs"].divergence, found["factors of 8 bits"].divergence
    assert factors < 0.05 * inputs
    assert found["one scale a row, their mean"].divergence > 50 * inputs
