"""The golden model: its arithmetic against exact sums, itself in batches, and the float model."""

import zlib
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from bench.folders import VECTORS
from setun.firmware.image.image import Image
from setun.firmware.models.checkpoint import load_checkpoint
from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.numerics.arithmetic import Arithmetic, MeanSquare
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import Numerics
from setun.firmware.numerics.sampling import Sampler
from setun.firmware.program.isa import Op, Table
from setun.sim.evaluate import golden_logits
from setun.sim.golden import GoldenModel

MODELS = {"a_h64_l2": 0.05, "b_h128_l4": 0.09, "d_h64_l3_nolb": 0.045}
"""Vectors and the error of golden logits allowed on them, in standard deviations of logits.
A code flipped by rounding costs upstream 0.17 against itself; random models are the worst case."""


def vectors(name: str) -> tuple[Image, Any]:
    folder = VECTORS / name
    return compile_checkpoint(load_checkpoint(folder)), np.load(folder / "io.npz")


def error(image: Image, io: Any, fmt: Format) -> float:
    logits = golden_logits(image, Numerics(vector=fmt), io["input_ids"])[0]
    return float(np.sqrt(np.mean((logits - io["logits"]) ** 2)) / io["logits"].std())


@pytest.mark.parametrize("name", list(MODELS))
def test_golden_follows_the_float_model(name: str) -> None:
    image, io = vectors(name)
    fine = error(image, io, Format(8, 9))
    assert 0.0 < fine < MODELS[name]
    assert error(image, io, Format(8, 7)) < 1.5 * MODELS[name]
    coarse = error(image, io, Format(8, 3))
    assert 4 * fine < coarse < 0.6


@pytest.mark.parametrize("fmt", [Format(8, 9), Format(6, 5), Format(5, 10), Format(8, 2)])
@pytest.mark.parametrize("name", list(MODELS))
def test_a_batch_is_its_rows(name: str, fmt: Format) -> None:
    image, io = vectors(name)
    ids = np.stack([io["input_ids"][0][k : k + 8] for k in (0, 5, 11, 17, 23)])
    together = GoldenModel(image, Numerics(vector=fmt), batch=len(ids))
    alone = [GoldenModel(image, Numerics(vector=fmt)) for _ in ids]
    for t in range(ids.shape[1]):
        together.feed(ids[:, t])
        logits = together.logits()
        for row, model in enumerate(alone):
            model.feed(int(ids[row, t]))
            np.testing.assert_array_equal(logits[row], model.logits())
    for row, model in enumerate(alone):
        np.testing.assert_array_equal(together.state[row], model.state)


def test_every_traced_value_is_one_the_chip_can_hold() -> None:
    image, io = vectors("b_h128_l4")
    fmt, seen = Format(8, 9), []

    def trace(tensor: str, unit: str, values: Any) -> None:
        seen.append((tensor, unit))
        if unit in ("codes", "array"):
            assert (values == np.rint(values)).all()
            assert unit == "array" or np.abs(values).max() == 127
        else:
            np.testing.assert_array_equal(fmt.round(values), np.atleast_1d(values))

    model = GoldenModel(image, Numerics(vector=fmt), trace=trace)
    for token in io["input_ids"][0][:3]:
        model.feed(int(token))
        model.logits()
    matrices = [m.name for m in image.matrices]
    assert [tensor for tensor, unit in seen if unit == "array"] == matrices * 3
    np.testing.assert_array_equal(fmt.round(model.state), model.state)


def test_array_rows_are_exact_dot_products() -> None:
    image, io = vectors("a_h64_l2")
    last: dict[str, Any] = {}
    codes: dict[str, Any] = {}

    def trace(tensor: str, unit: str, values: Any) -> None:
        if unit == "codes":
            last["codes"] = values
        elif unit == "array":
            codes[tensor] = (last["codes"].astype(np.int64), np.array(values))

    model = GoldenModel(image, trace=trace)
    model.feed(int(io["input_ids"][0][0]))
    model.logits()
    for matrix in image.matrices:
        q, rows = codes[matrix.name]
        np.testing.assert_array_equal(matrix.codes().astype(np.int64) @ q, rows.astype(np.int64))


def test_quantiser_against_rational_arithmetic() -> None:
    image, _ = vectors("a_h64_l2")
    fmt = Format()
    compute = Arithmetic(Numerics(vector=fmt))
    op = next(i for i in image.program if i.op is Op.QUANTISE)
    scalars = next(i for i in image.program if i.op is Op.SCALARS)
    eps = fmt.round1(float(scalars.constants)), fmt.round1(1e-6)
    pairs = slice(int(op.constants), int(op.constants) + op.n)
    outer, gain = fmt.round(image.tables[Table.CONSTANTS][pairs].T)
    one = fmt.round1(1.0 / op.n)
    rng = np.random.default_rng(3)
    for scale in (1e-12, 1e-3, 1.0, 700.0):
        x = fmt.round(rng.standard_t(3, op.n) * scale)
        codes, factor = compute.quantise(x, outer, gain, one, eps, MeanSquare.OWN, None)
        t = [Fraction(float(v)) for v in fmt.round(x * gain)]
        top = max(abs(v) for v in t)
        for code, v in zip(codes, t, strict=True):
            magnitude = int(abs(v) * 127 / top + Fraction(1, 2))  # half away from zero
            assert code == (magnitude if v >= 0 else -magnitude)
        m1, m2 = np.mean(x**2), np.mean((x * outer) ** 2)
        rms = np.sqrt(m2 + 1e-6 * (m1 + float(scalars.constants)))
        assert float(factor) == pytest.approx(float(top) / rms, rel=2.0**-7)
    none = np.zeros(op.n)
    codes, factor = compute.quantise(none, outer, gain, one, eps, MeanSquare.OWN, None)
    assert not codes.any() and factor == 0.0


def test_reset_forgets() -> None:
    image, io = vectors("d_h64_l3_nolb")
    model = GoldenModel(image)
    runs = []
    for _ in range(2):
        for token in io["input_ids"][0][:5]:
            model.feed(int(token))
        runs.append((model.logits().copy(), model.state.copy()))
        model.feed(3)
        assert not np.array_equal(model.state, runs[0][1])
        model.reset()
        assert not model.state.any()
    assert all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))


def test_bits_do_not_change() -> None:
    """Gateware in the field computes these bits; a faster golden model must too."""
    image, io = vectors("d_h64_l3_nolb")
    found = {}
    for fmt in (Format(8, 9), Format(6, 7)):
        model, digest = GoldenModel(image, Numerics(vector=fmt)), 0
        for token in io["input_ids"][0]:
            model.feed(int(token))
            digest = zlib.crc32(fmt.to_bits(model.logits()).astype("<u4").tobytes(), digest)
        found[fmt.width] = zlib.crc32(fmt.to_bits(model.state).astype("<u4").tobytes(), digest)
    assert found == {18: 1340436644, 14: 223633679}


def test_greedy_sampler_takes_the_lowest_of_equals() -> None:
    sample = Sampler(Numerics(), None)
    assert sample(np.array([1.0, 3.0, 3.0, -9.0])) == 1
    assert sample(np.array([-4.0])) == 0


def test_sampler_draws_the_softmax() -> None:
    logits, draws = np.array([0.0, 1.0, -1.0, 2.0, 0.5]), 12_000
    for temperature in (0.7, 1.0, 1.6):
        sample = Sampler(Numerics(), 1.0 / temperature, seed=11)
        counts = np.bincount([sample(logits) for _ in range(draws)], minlength=5)
        p = np.exp(logits / temperature)
        p /= p.sum()
        chi2 = float((((counts - draws * p) ** 2) / (draws * p)).sum())
        assert chi2 < 18.5, "99.9 % of fair samplers with 4 degrees of freedom"


def test_sampler_repeats_with_its_seed() -> None:
    logits = np.zeros(64)
    streams = [[Sampler(Numerics(), 1.0, seed)(logits)] for seed in range(40)]
    assert len({s[0] for s in streams}) > 20
    one, two = Sampler(Numerics(), 1.0, 5), Sampler(Numerics(), 1.0, 5)
    assert [one(logits) for _ in range(20)] == [two(logits) for _ in range(20)]
