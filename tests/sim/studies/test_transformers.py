"""What docs/numerics.md claims of attention and of float heads, on one checkpoint."""

import numpy as np
import pytest

from bench.folders import BITNET, VECTORS
from setun.firmware.errors import SetunError
from setun.sim.studies.transformers import ATTENTION, Price, Trial


@pytest.fixture(scope="module")
def trial() -> Trial:
    return Trial(BITNET / "a_h64_l2_silu", 48)


def test_prices_of_attention(trial: Trial) -> None:
    found = {what: trial.attention(what).divergence for what in ATTENTION}
    assert found["RoPE alone, (8, 9)"] < found["all, codes of 10 bits"]
    assert (
        found["all, codes of 10 bits"]
        < found["all, codes of 9 bits"]
        < found["all, codes of 8 bits"]
        < found["paper's L-Mul for the outputs' product alone, 9 bits"]
    )
    dearest = found.pop("paper's L-Mul for RoPE's products alone")
    assert dearest > 3 * found["paper's L-Mul for the outputs' product alone, 9 bits"]
    assert found["L-Mul for RoPE's products alone"] < dearest / 3
    outputs = found["L-Mul for the outputs' product alone, 9 bits"]
    assert outputs < 1.2 * found["all, codes of 9 bits"]
    both, bare = found["L-Mul for both, codes of 8 bits"], found["all, codes of 8 bits"]
    assert bare < both < 3 * bare


def test_prices_of_heads(trial: Trial) -> None:
    found = {what: price.divergence for what, price in trial.heads()}
    codes = found.pop("float, codes of its input alone")
    rows, powers = (
        found[f"243 levels, a row's unit {unit}"]
        for unit in ("its maximum / 121", "a power of two")
    )
    assert codes < rows < powers < found["81 levels, a row's unit a power of two"]
    # Half of what the levels cost beside the codes.
    assert rows - codes < 0.7 * (powers - codes)


def test_a_price(trial: Trial) -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(2, 5, 7))
    same = Price.of(logits, logits + 100.0)
    assert abs(same.divergence) < 1e-12 and same.same == 1.0
    # Of (1/2, 1/2) from (3/4, 1/4): log(4/3) / 2.
    other = Price.of(np.zeros((1, 2)), np.log([[0.75, 0.25]]))
    assert other.divergence == pytest.approx(np.log(4 / 3) / 2)


def test_other_families_are_refused() -> None:
    with pytest.raises(SetunError, match="must be a transformer"):
        Trial(VECTORS / "a_h64_l2")
