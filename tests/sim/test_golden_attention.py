"""Transformers as programs: the float meaning equals the reference, the golden model follows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.folders import BITNET
from bench.grouped import LIKE_BONSAI, grouped_checkpoint
from setun.backends import GoldenBackend, Sampling
from setun.firmware.errors import SetunError
from setun.firmware.image import file as image_file
from setun.firmware.image.grouped_matrix import GroupedMatrix
from setun.firmware.image.image import Image
from setun.firmware.models.architecture import find
from setun.firmware.models.checkpoint import Checkpoint, load_checkpoint
from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.options import PRESETS, Numerics
from setun.firmware.program import machine
from setun.firmware.program.verify import verify
from setun.models.random import random_checkpoint
from setun.sim import folded, golden, weights
from setun.sim.evaluate import golden_logits
from setun.sim.folded import FoldedModel
from setun.sim.golden import GoldenModel
from setun.sim.reference import float_model
from setun.sim.reference.layers import rms_norm
from setun.sim.studies.transformers import Price
from setun.talk.session import Result, stream

DIVERGENCE = {"a": 0.0066, "b": 0.0276, "e": 0.0087, "l": 0.0034, "p": 0.0394, "q": 0.0059}
"""Of the golden model from the float reference, nat a token, with random weights and tokens."""
HEAD = 0.0006
"""Of that, most for the head's five trits and its input's codes."""
FOLDERS = sorted(BITNET.glob("*_*"))
NORMS = replace(
    LIKE_BONSAI,
    vocab_size=80,
    hidden_size=96,
    intermediate_size=128,
    num_attention_heads=6,
    num_key_value_heads=3,
    max_position_embeddings=512,
    packed=False,
    group=0,
    int8_inputs=True,
)
"""Qwen3's shape: norms of queries and keys, no sub-norms; a ternary head."""


def compiled(folder: Path) -> tuple[Checkpoint, Image]:
    checkpoint = load_checkpoint(folder)
    return checkpoint, compile_checkpoint(checkpoint)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_folding_is_exact(folder: Path) -> None:
    checkpoint, image = compiled(folder)
    io, config = np.load(folder / "io.npz"), checkpoint.config
    model = FoldedModel(image)
    run = folded._Run(model, io["input_ids"])
    machine.walk(run, model._steps)
    # The head's weights are rounded, everything before them is not.
    last = rms_norm(run.vector[0], checkpoint.tensors["model.norm.weight"], config.rms_norm_eps)
    logits = last @ checkpoint.tensors["lm_head.weight"].T
    np.testing.assert_allclose(logits, io["logits"], rtol=0, atol=1e-4)
    assert 0.0 < Price.of(io["logits"], run.rows).divergence < HEAD


def test_norms_of_queries_and_keys() -> None:
    checkpoint = random_checkpoint(find("bitnet"), NORMS, seed=3)
    image = compile_checkpoint(checkpoint)
    verify(image, "image")
    ids = np.random.default_rng(1).integers(0, NORMS.vocab_size, (4, 24))
    want, got = float_model(checkpoint).forward_batch(ids), FoldedModel(image).forward_batch(ids)
    # Random ids may put a code on a rounding tie, so a rare token may differ.
    close = np.abs(got - want).max(-1) < 1e-3 * want.std()
    assert close.mean() > 0.9 and close[:, 0].all()
    assert Price.of(want, golden_logits(image, Numerics(), ids)).divergence < 0.02


@given(
    seed=st.integers(0, 1 << 32),
    size=st.sampled_from([1e-30, 1e-9, 1.0, 1e5, 1e18]),
    preset=st.sampled_from(["default", "lmul"]),
)
def test_norm_of_heads(seed: int, size: float, preset: str) -> None:
    rng = np.random.default_rng(seed)
    compute, eps = Arithmetic(PRESETS[preset]), 32e-6
    x = compute.r(rng.normal(size=(3, 2, 32)) * size)
    gain = compute.r(rng.normal(size=32))
    want = x * gain / np.sqrt((x * x).sum(-1, keepdims=True) + eps)
    off = np.abs(compute.head_norm(x, gain, eps) - want)
    assert (off <= (0.25 if preset == "lmul" else 0.01) * np.abs(want) + 1e-37).all()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_golden_follows(folder: Path) -> None:
    checkpoint, image = compiled(folder)
    ids = np.random.default_rng(5).integers(0, image.vocab_size, (4, 64))
    want = float_model(checkpoint).forward_batch(ids)
    got = golden_logits(image, Numerics(), ids)
    assert 0.0 < Price.of(want, got).divergence < 1.5 * DIVERGENCE[folder.name[0]]


def test_a_batch_is_its_rows_and_a_cache_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    _, image = compiled(BITNET / "b_h128_l3_relu2")
    ids = np.random.default_rng(6).integers(0, image.vocab_size, (2, 20))
    want = golden_logits(image, Numerics(), ids)
    monkeypatch.setattr(golden, "FIRST_ROOM", 3)
    model = GoldenModel(image)
    for row, logits in zip(ids, want, strict=True):
        model.reset()
        for token, each in zip(row, logits, strict=True):
            model.feed(int(token))
            np.testing.assert_array_equal(model.logits().astype(np.float32), each)


def test_cache_holds_keys_and_values() -> None:
    checkpoint, image = compiled(BITNET / "p_h256_l4_packed")
    config, ids = checkpoint.config, np.random.default_rng(7).integers(0, 384, 12)
    seen: dict[str, np.ndarray] = {}
    float_model(checkpoint).forward(ids, trace=seen)
    model, told = GoldenModel(image), []
    model.trace = lambda name, unit, values: told.append((name, unit, values.copy()))
    for token in ids:
        model.feed(int(token))
    shape = len(ids), config.num_key_value_heads, config.head_dim
    assert [region.size for region in image.memory.cache] == 8 * [shape[1] * shape[2]]
    for region in image.memory.cache:
        held = model.cached(region.start, len(ids))
        assert held.codes.shape == shape and held.exponent.shape == shape[:2]
        assert np.abs(held.codes).max(-1).min() >= 63 and np.abs(held.codes).max() <= 127
        last = [v for name, unit, v in told if (name, unit) == (region.name, "cache codes")][-1]
        np.testing.assert_array_equal(last, held.codes[-1])
    for region, name in zip(image.memory.cache[:2], ("L0.k", "L0.v_proj"), strict=True):
        held = model.cached(region.start, len(ids))
        numbers = np.ldexp(held.codes, held.exponent[..., None])
        want = seen[name].reshape(shape)
        assert (np.abs(numbers - want) <= 2.0 ** (held.exponent[..., None] + 1)).all(), name


def limited(positions: int) -> Image:
    _, image = compiled(BITNET / "a_h64_l2_silu")
    return replace(image, memory=replace(image.memory, positions=positions))


def test_a_full_context_ends_a_generation() -> None:
    image, result = limited(5), Result()
    backend = GoldenBackend(image, Numerics())
    for _ in range(2):
        list(stream(image, backend, Numerics(), [3, 1, 4], 9, Sampling(), result := Result()))
        assert (len(result.tokens), result.reason, result.positions_left) == (3, "context_full", 0)
    list(stream(image, backend, Numerics(), [3, 1], 2, Sampling(), result := Result()))
    assert (len(result.tokens), result.reason, result.positions_left) == (2, "count", 1)
    with pytest.raises(SetunError, match="context: holds 5 tokens, as many as there are"):
        list(backend.generate([3] * 6, 1, Sampling()))


def test_image_file(tmp_path: Path) -> None:
    image, path = limited(77), tmp_path / "m.setun"
    image_file.save(image, path)
    read = image_file.load(path)
    assert read.memory == image.memory and read.program == image.program
    ids = np.arange(6)[None]
    wanted = golden_logits(image, Numerics(), ids)
    np.testing.assert_array_equal(golden_logits(read, Numerics(), ids), wanted)


@pytest.mark.parametrize("preset", ["default", "lmul", "fp8"])
def test_scales_of_groups(preset: str) -> None:
    """The folded model is the float one with int8 inputs; the golden one follows it."""
    checkpoint = grouped_checkpoint(ternary_head=False)
    image = compile_checkpoint(checkpoint)
    verify(image, "image")
    ids = np.random.default_rng(1).integers(0, 90, (4, 24))
    want, got = float_model(checkpoint).forward_batch(ids), FoldedModel(image).forward_batch(ids)
    assert 0.0 < Price.of(want, got).divergence < 0.005
    numerics, most = PRESETS[preset], {"default": 0.01, "lmul": 0.5, "fp8": 0.5}[preset]
    assert Price.of(want, golden_logits(image, numerics, ids)).divergence < most


@pytest.mark.parametrize("kept", [0, 1 << 24])
@pytest.mark.parametrize("preset", ["default", "fp8"])
def test_sums_of_groups(preset: str, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each group's sum, rounded where fp8's are, times its factor; whatever is expanded."""
    monkeypatch.setattr(weights, "KEPT", kept)
    image, compute = compile_checkpoint(grouped_checkpoint()), Arithmetic(PRESETS[preset])
    held = image.matrices[-1]
    assert isinstance(held, GroupedMatrix)
    x = np.random.default_rng(2).normal(size=256)
    codes, _ = compute.codes(compute.r(x), float(np.abs(compute.r(x)).max()))
    parts = [
        compute.sums(codes[g : g + 128], held.codes().T[g : g + 128].astype(np.float32))
        for g in (0, 128)
    ]
    want = sum(part * held.factors()[:, k] for k, part in enumerate(parts))
    np.testing.assert_array_equal(weights.weights_of(image)[-1].sums(codes, compute), want)
