"""What papers claim, and what docs/numerics.md claims, measured by `setun.sim.studies`."""

import functools
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.folders import TEXT
from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.lmul import lmul
from setun.firmware.numerics.options import ACCUMULATOR, EXACT, PRESETS, Numerics
from setun.programs import figure, table
from setun.sim import evaluate
from setun.sim.golden import GoldenModel
from setun.sim.studies import fidelity, memory, products, sums
from setun.sim.studies.demo import Demo, shipped

Loss = Callable[[str], fidelity.Fidelity]


@pytest.fixture(scope="module")
def demo() -> Demo:
    return shipped()


# ------------------------------------------------------------------- products
@pytest.mark.parametrize(("exponent", "mantissa"), list(products.PUBLISHED))
def test_published_errors_of_lmul(exponent: int, mantissa: int) -> None:
    """arXiv 2412.18948, table IV: mean relative error and error probability."""
    size, share = products.PUBLISHED[exponent, mantissa]
    ours = products.errors("formula", products.values(exponent, mantissa), mantissa)
    assert abs(ours.size - size) < 0.00051 and abs(ours.share - share) < 0.00051


def test_addition_differs_from_the_formula() -> None:
    e4m3, e5m2 = (products.errors("addition", products.significand(m), m).size for m in (3, 2))
    assert e4m3 == pytest.approx(0.0524, abs=1e-4) and e5m2 == pytest.approx(0.1467, abs=1e-4)


def test_addition_is_nearly_unbiased_where_the_chip_multiplies() -> None:
    x = products.significand(9)
    addition, formula = (products.errors(f, x, 9, Format()) for f in ("addition", "formula"))
    assert addition.mean == pytest.approx(0.0041, abs=2e-4)
    assert formula.mean == pytest.approx(-0.0638, abs=2e-4)
    assert addition.size == pytest.approx(0.0265, abs=2e-4)
    assert formula.size == pytest.approx(0.0756, abs=2e-4)


def test_lmul_with_a_gate_near_one_makes_the_state_grow() -> None:
    """Why f*h is not formed from f: every u below 1/32, every significand of h."""
    h, u = products.significand(9), Format().round(np.geomspace(2.0**-9, 0.031, 400))[:, None]
    assert (lmul(1.0 - u, h, 9) > h).all()
    assert (Format().round(lmul(1.0 - u, h, 9)) >= h).all()
    assert (h - lmul(u, h, 9) < h).all()


# ------------------------------------------------------------------- sums
def slowly(x: list[float], chunk: int, exact: bool) -> float:
    """A sum in chunks, addition by addition."""
    total = None
    for k in range(0, len(x), chunk):
        part = 0.0
        for value in x[k : k + chunk]:
            part = part + value if exact else ACCUMULATOR.round1(part + value)
        part = ACCUMULATOR.round1(part)
        total = part if total is None else ACCUMULATOR.round1(total + part)
    assert total is not None
    return total


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("chunk", [1, 16, 64, 256, 1024])
def test_chunked_sums_are_their_definition(chunk: int, exact: bool) -> None:
    x = sums.uniform(512, trials=3)
    want = [slowly(row.tolist(), chunk, exact) for row in x]
    assert sums.chunked(x, chunk, exact).tolist() == want


def test_unchunked_sums_stall() -> None:
    """arXiv 1812.08011, figure 3: from about 4,096."""
    x = sums.uniform(16384)
    assert 0.99 < x.mean() < 1.01 and 0.99 < x.std() < 1.01
    assert 2048 < sums.stall(x) < 8192
    course = sums.progress_of_sum(x[:8])
    assert course[-1] == course[8191] == 4096.0
    assert np.abs(course[:1024] / x[:8].mean(0).cumsum()[:1024] - 1.0)[100:].max() < 0.02


def test_chunks_keep_long_sums() -> None:
    found = sums.number_errors((256, 65536), sums.CHUNKS)
    short, long = ({name: e[k] for name, e in found.items()} for k in (0, 1))
    assert long["1"] > 0.9 and 0.49 < long["16"] < 0.51, "stalls at 32,768"
    assert long["64"] < 0.006 and long["64, exact inside"] < 0.006 and long["256"] < 0.006
    for chunk in ("64", "256"):
        assert short[f"{chunk}, exact inside"] < 0.6 * short[chunk]
    assert max(short["float32"], long["float32"]) < 1e-5


def test_chunks_keep_dot_products() -> None:
    lengths = (128, 1024, 8192)
    found = sums.dot_errors(lengths, sums.CHUNKS)
    assert all(error < 0.005 for error in found["64"])
    for k, n in enumerate(lengths[1:], start=1):
        errors = [found[str(chunk)][k] for chunk in sums.CHUNKS]
        assert errors == sorted(errors, reverse=True), n
        assert errors[0] > 2.5 * errors[2]


# ------------------------------------------------------------------- memory
@pytest.mark.parametrize("name", [*PRESETS, "(6,9)"])
def test_replay_is_the_golden_model(demo: Demo, name: str) -> None:
    numerics, ids = fidelity.VARIANTS[name], demo.held_out(TEXT)[:24]
    gates = memory.record(demo, numerics, len(ids), ids)
    model = GoldenModel(demo.image, numerics)
    for token in ids:
        model.feed(int(token))
    states = memory.replay(Arithmetic(numerics), gates)
    np.testing.assert_array_equal(states[-1].ravel(), model.state)
    want = memory.exact(gates)[-1]
    assert 0.0 < np.abs(states[-1] - want).max() < 0.2 * np.abs(want).max()


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_batch_is_its_rows(demo: Demo, name: str) -> None:
    numerics, ids = PRESETS[name], np.arange(24).reshape(2, 12)
    together = GoldenModel(demo.image, numerics, batch=2)
    alone = [GoldenModel(demo.image, numerics) for _ in ids]
    for t in range(ids.shape[1]):
        together.feed(ids[:, t])
        logits = together.logits()
        for row, model in enumerate(alone):
            model.feed(int(ids[row, t]))
            np.testing.assert_array_equal(logits[row], model.logits())


def test_state_errors_do_not_grow(demo: Demo) -> None:
    tokens = 2048
    gates = memory.record(demo, Numerics(), tokens, demo.held_out(TEXT))
    edges = memory.blocks(tokens)
    assert edges == [0, 8, 16, 32, 64, 128, 256, 512, 1024, 2048]
    bounds = {
        "9, nearest": 0.0015,
        "9, stochastic": 0.0015,
        "7, nearest": 0.006,
        "7, stochastic": 0.006,
        "16, nearest": 0.0006,
    }
    for name, errors in memory.state_errors(gates, edges).items():
        assert max(errors) < bounds[name.split("state ")[1]], name
        assert errors[-1] < 1.15 * errors[4], name
    good, segmented, bad, _ = memory.product_errors(gates, edges).values()
    assert max(good) < 0.04 and good[-1] < 1.15 * good[4]
    assert max(segmented) < 0.4 * max(good) and segmented[-1] < 1.15 * segmented[4]
    assert bad[5] > 0.2 and bad[7] > 100 * bad[4], "a model read for longer would be lost"


def test_only_nearest_rounding_forgets_to_forget() -> None:
    kept, reached = math.exp(-4), 1 - math.exp(-4)
    short, middle, long = (memory.hard(Numerics(), m) for m in (256, 1024, 4096))
    assert short.kept == pytest.approx(kept, abs=0.004) and long.kept == 1.0
    assert short.reached < 0.9 and middle.reached < 0.6
    assert middle.noise > 0.1 and long.noise > 1.0
    for mantissa, memories, error in ((9, 4096, 0.035), (7, 1024, 0.08)):
        numerics = Numerics(state_rounding="stochastic", state_mantissa=mantissa)
        found = memory.hard(numerics, memories)
        assert found.kept == pytest.approx(kept, abs=0.003)
        assert found.reached == pytest.approx(reached, abs=0.005) and found.noise < error
    wide = memory.hard(Numerics(state_mantissa=16), 1024)
    assert wide.noise < 0.0002 and wide.kept == pytest.approx(kept, abs=1e-3)


def test_the_model_writes_its_own_text(demo: Demo) -> None:
    one, two = (memory.record(demo, Numerics(), 12, None) for _ in range(2))
    assert one.u.shape == (12, 6, 128) and (one.u > 0).all() and (one.u < 1).all()
    np.testing.assert_array_equal(one.a, two.a)


# ------------------------------------------------------------------- fidelity
@pytest.fixture(scope="module")
def text(demo: Demo) -> fidelity.Text:
    return fidelity.Text(demo.held_out(TEXT), demo=demo)


@pytest.fixture(scope="module")
def loss(text: fidelity.Text) -> Loss:
    """Measures numerics by name, each once."""
    return functools.cache(text.fidelity)


BOUNDS = {"default": 0.002, "fp8": 0.004, "lmul": 0.003, "stochastic": 0.003}
"""Nats a character more than float."""


@pytest.mark.parametrize("name", list(BOUNDS))
def test_loss_of_presets(text: fidelity.Text, loss: Loss, name: str) -> None:
    assert text.counted.sum() == fidelity.TOKENS
    found = loss(name)
    assert abs(found.loss) <= BOUNDS[name]
    assert found.agreement > (0.945 if PRESETS[name].lmul or PRESETS[name].fp8 else 0.98)


def test_loss_of_the_transformer() -> None:
    """The bars of trained models, in the default numerics; other prices are in the docs."""
    transformer = shipped("shakespeare-transformer")
    names = fidelity.applying(transformer.image)
    assert names[-2:] == list(fidelity.IN_ATTENTION) and "stochastic" not in names
    text = fidelity.Text(transformer.held_out(TEXT), 5_120, transformer)
    found = text.fidelity("default")
    assert abs(found.loss) <= 0.002 and found.agreement >= 0.98
    assert not set(fidelity.IN_ATTENTION) & set(fidelity.applying(shipped().image))


@pytest.mark.slow
def test_segments_spare_a_model_that_has_not_learnt_with_lmul() -> None:
    transformer = shipped("shakespeare-transformer")
    text = fidelity.Text(transformer.held_out(TEXT), demo=transformer)
    paper, segments = (text.fidelity(name).loss for name in ("lmul-paper", "lmul"))
    assert segments < 0.005 and segments < paper / 2
    for name in fidelity.IN_ATTENTION:
        assert text.fidelity(name).loss < 0.002


STOCHASTIC = {
    "stochastic": "state 7",
    "stochastic, state 9": "default",
    "fp8, stochastic": "fp8",
    "lmul, stochastic": "lmul",
    "all-four": "lmul, fp8",
}
"""With rounding at random, and the same to nearest (the state at its preset's width)."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "nearest"), list(STOCHASTIC.items()))
def test_stochastic_rounding_costs_no_loss(loss: Loss, name: str, nearest: str) -> None:
    assert loss(name).loss <= loss(nearest).loss + 0.001


@pytest.mark.slow
def test_chunks_and_forms_in_the_model(loss: Loss) -> None:
    assert abs(loss("fp8").loss - loss("fp8, accumulate none").loss) < 0.002, "chance: 1.2e-3"
    assert loss("(8,7)").loss < 0.003 and loss("(6,9)").loss < 0.002
    assert loss("all-four").loss < 0.008
    assert loss(fidelity.NAIVE).loss > 0.05, "f*h from f loses the model"


def test_no_rounding_of_exact_sums_is_none() -> None:
    rng = np.random.default_rng(5)
    codes = np.rint(rng.standard_normal((4, 300)) * 20000).astype(np.float32)
    weights = rng.integers(-1, 2, (300, 6)).astype(np.float32)
    exact = Arithmetic(Numerics(activation="fp8", accumulate=EXACT)).sums(codes, weights)
    np.testing.assert_array_equal(exact, codes.astype(np.int64) @ weights.astype(np.int64))
    chunk = Arithmetic(Numerics(activation="fp8", accumulate=64)).sums(codes, weights)
    want = [
        [slowly((row * column).tolist(), 64, True) for column in weights.T.astype(float)]
        for row in codes.astype(float)
    ]
    assert chunk.tolist() == want


# ------------------------------------------------------------------- reports
def test_standard_errors_are_over_windows() -> None:
    """Two windows, the second of two targets only: their mean differences are 1 and 3."""
    counted = np.array([[True] * 4, [True, True, False, False]])
    losses = np.array([[1.0, 0.0, 2.0, 1.0], [3.0, 3.0, 9.0, 9.0]])
    one, zero = (evaluate._Tally(counted) for _ in range(2))
    one.loss[:] = losses
    found = one.score(1.0)
    assert found.of_rows.tolist() == [1.0, 3.0] and found.loss == pytest.approx(10 / 6)
    assert evaluate.standard_error(found, zero.score(1.0)) == pytest.approx(1.0)


def test_tables_and_figures() -> None:
    assert table(["a", "b"], [[1, "x"]]) == "| a | b |\n| --- | --- |\n| 1 | x |"
    assert [figure(x) for x in (0.0, 0.01234, 1.0, 3.21e-7, 26.0)] == [
        "0",
        "0.012",
        "1",
        "3.2e-07",
        "26",
    ]


def test_studies_are_programs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "setun.sim.studies.products"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "| E4M3 | 0.068 | 0.968 | 0.0684 | 0.9682 | 0.0522 | 0.9523 |" in done.stdout
    command = [sys.executable, "-m", "setun.sim.studies.fidelity", "--text"]
    done = subprocess.run([*command, str(tmp_path / "none")], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("setun: error: ")
    assert "none: must be readable" in done.stderr and done.stderr.count("\n") == 1
