"""What docs/numerics.md claims of float heads, on fewer steps."""

import pytest

from bench.folders import TEXT
from setun.sim.studies import heads
from setun.sim.studies.demo import shipped
from setun.sim.texts import WINDOW


@pytest.mark.slow
def test_five_planes_cost_a_float_head_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "FITTED", 40 * WINDOW)
    monkeypatch.setattr(heads, "STEPS", 40)
    trained, real, planes, ternary = (loss for _, loss in heads.heads(shipped(), TEXT, 40 * WINDOW))
    assert abs(planes - real) < 0.001
    assert real < trained < ternary
