"""The float reference of transformers against their own code's outputs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.folders import BITNET
from setun.firmware.errors import SetunError
from setun.firmware.models.architecture import find
from setun.firmware.models.bitnet.config import BitnetConfig
from setun.firmware.models.bitnet.projections import projection
from setun.firmware.models.checkpoint import Checkpoint, load_checkpoint
from setun.firmware.models.weight_files import LazyTensors
from setun.models.random import random_checkpoint
from setun.sim.reference import bitnet
from setun.sim.reference.bitnet import FloatModel, relu2, rotated
from setun.sim.reference.layers import Trace, absmax, attend

FOLDERS = sorted(BITNET.glob("*_*"))
NAMES = [folder.name for folder in FOLDERS]
LIKE_2B4T = find("bitnet").sized(60, 64, 2, 128)


def model(name: str) -> FloatModel:
    return FloatModel(load_checkpoint(BITNET / name))


def io(name: str) -> Any:
    return np.load(BITNET / name / "io.npz")


@pytest.mark.parametrize("name", NAMES)
def test_whole_model(name: str) -> None:
    ids, logits = io(name)["input_ids"], io(name)["logits"]
    got = model(name).forward_batch(ids)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if (BITNET / name / "detail.npz").exists()]
)
def test_every_operation(name: str) -> None:
    trace: Trace = {}
    model(name).run(io(name)["input_ids"], trace=trace)
    detail = np.load(BITNET / name / "detail.npz")
    assert len(detail.files) >= 30
    for key in detail.files:
        want, got = detail[key], trace[key][: len(detail[key])]
        if key.endswith(".codes"):
            assert got.dtype == np.int8
            np.testing.assert_array_equal(got, want, err_msg=key)
        elif key.endswith(".scale"):
            np.testing.assert_allclose(got, want, rtol=1e-5, err_msg=key)
        else:
            # Squares of the gate reach thousands, of which float32 has seven digits.
            atol = 1e-5 * max(1.0, float(np.abs(want).max()))
            np.testing.assert_allclose(got, want, rtol=0, atol=atol, err_msg=key)


@pytest.mark.parametrize("name", ["a_h64_l2_silu", "b_h128_l3_relu2"])
def test_codes_of_weights(name: str) -> None:
    checkpoint, want = load_checkpoint(BITNET / name), np.load(BITNET / name / "ternary.npz")
    matrices = [key.removesuffix(".codes") for key in want.files if key.endswith(".codes")]
    assert len(matrices) == 7 * checkpoint.config.num_hidden_layers
    for matrix in matrices:
        codes, scale = projection(checkpoint.config, checkpoint.tensors, matrix)
        np.testing.assert_array_equal(codes, want[f"{matrix}.codes"])
        np.testing.assert_allclose(scale, [want[f"{matrix}.scale"]], rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if name[0] in "abel"])
def test_step_by_step(name: str) -> None:
    ids, want, one = io(name)["input_ids"][0], io(name)["logits_step"][0], model(name)
    for _ in range(2):
        got = np.stack([one.step(int(token)) for token in ids])
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)
        one.reset()
    np.testing.assert_allclose(one.forward(ids), want, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["a_h64_l2_silu", "b_h128_l3_relu2"])
def test_greedy(name: str) -> None:
    want, prompt = io(name)["greedy_ids"].tolist(), int(io(name)["greedy_prompt_len"])
    one, ids = model(name), want[:prompt]
    for token in ids:
        logits = one.step(token)
    while len(ids) < len(want):
        ids.append(int(np.argmax(logits)))
        logits = one.step(ids[-1])
    assert ids == want and len(want) == prompt + 24


def test_large_models_are_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitnet, "HELD", 0)
    one = model("q_h256_l2_packed_silu")
    ids, logits = io("q_h256_l2_packed_silu")["input_ids"], io("q_h256_l2_packed_silu")["logits"]
    np.testing.assert_allclose(one.forward_batch(ids), logits, rtol=0, atol=1e-4)
    assert not one._held


def grown(config: BitnetConfig, **tensors: np.ndarray) -> Checkpoint:
    made = random_checkpoint(find("bitnet"), config, seed=3)
    readers = {name: lambda name=name: made.tensors[name] for name in made.tensors}
    readers |= {name.replace("__", "."): lambda t=tensor: t for name, tensor in tensors.items()}
    return replace(made, tensors=LazyTensors(readers))


def test_scales_of_groups_are_a_matrix_scaled_by_parts() -> None:
    """Equal scales of groups give what one scale gives; one group doubled doubles its inputs."""
    rng = np.random.default_rng(1)
    grouped = replace(LIKE_2B4T, packed=True, group=128, ternary_head=True, int8_inputs=False)
    grouped = replace(grouped, hidden_size=256, num_attention_heads=4, head_dim=64)
    whole = replace(grouped, group=0)
    codes = {
        name: rng.integers(-1, 2, shape).astype(np.int8)
        for name, shape in find("bitnet").expected_shapes(whole).items()
        if name in find("bitnet").files.codes(whole)
    }
    ids = rng.integers(0, 60, (2, 9))
    one = FloatModel(grown(whole, **codes)).forward_batch(ids)
    several = grown(grouped, **codes)
    np.testing.assert_allclose(FloatModel(several).forward_batch(ids), one, atol=1e-3)
    scale = several.tensors["lm_head.weight_scale"].copy()
    assert scale.shape == (60, 2)
    scale[:, 1] *= 2
    changed = grown(grouped, **codes, lm_head__weight_scale=scale)
    trace: Trace = {}
    got = FloatModel(changed).run(ids, trace=trace)
    x = trace["norm"] * np.repeat([1, 2], 128)
    np.testing.assert_allclose(got, x @ codes["lm_head.weight"].T * 0.05, atol=1e-3)


def test_norms_of_queries_and_keys() -> None:
    """Doubled weights of q and k change nothing behind a norm."""
    config = replace(LIKE_2B4T, sub_norms=False, qk_norm=True, hidden_act="silu")
    made = random_checkpoint(find("bitnet"), config, seed=3)
    ids = np.arange(12)[None]
    want = FloatModel(made).forward_batch(ids)
    twice = {
        f"model.layers.0.self_attn.{n}_proj.weight": 2
        * made.tensors[f"model.layers.0.self_attn.{n}_proj.weight"]
        for n in "qk"
    }
    np.testing.assert_allclose(
        FloatModel(grown(config, **twice)).forward_batch(ids), want, atol=1e-3
    )
    off = FloatModel(grown(replace(config, qk_norm=False))).forward_batch(ids)
    assert np.abs(off - want).max() > 0.1


def test_ties_go_to_even() -> None:
    codes, _ = absmax(np.array([[0.5, -0.5, 1.5, -2.5, 127]], np.float32), np.rint)
    assert codes.tolist() == [[0, 0, 2, -2, 127]]
    assert relu2(np.array([-3, 0, 3], np.float32)).tolist() == [0, 0, 9]


def test_rope_turns_pairs_of_halves() -> None:
    x = np.zeros((1, 1, 1, 8), np.float32)
    x[..., 1] = 1
    angle = 5 * 10000.0 ** (-1 / 4)
    want = np.zeros(8)
    want[1], want[5] = np.cos(angle), np.sin(angle)
    np.testing.assert_allclose(rotated(x, 5, 10000.0)[0, 0, 0], want, atol=1e-6)


def test_attention_sees_no_later_token_and_shares_keys_by_neighbours() -> None:
    rng = np.random.default_rng(2)
    q, k, v = (rng.normal(size=(1, 3, n, 4)).astype(np.float32) for n in (4, 2, 2))
    out, p = attend(q, k, v)
    assert p.shape == (1, 4, 3, 3) and not p[0, :, 0, 1:].any()
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-6)
    for j in range(4):
        np.testing.assert_allclose(out[0, 0, 4 * j :][:4], v[0, 0, j // 2], rtol=1e-6)


def test_token_outside_the_vocabulary() -> None:
    with pytest.raises(SetunError, match="0 to 95; found 96"):
        model("a_h64_l2_silu").step(96)
