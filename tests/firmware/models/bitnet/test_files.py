"""Checkpoint folders of transformers: packed codes, shards, other names, and their defects."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.folders import BITNET
from firmware.models.test_checkpoint import Tensors, refusal, save
from setun.firmware.models.bitnet.projections import projection
from setun.firmware.models.checkpoint import load_checkpoint
from setun.firmware.numerics.ternary import absmean, ternarise
from setun.sim.reference import float_model

PACKED = BITNET / "q_h256_l2_packed_silu"
DIVIDED = BITNET / "l_h128_l2_llama_bitlinear"
Q = "model.layers.0.self_attn.q_proj.weight"


def stored(folder: Path) -> Tensors:
    """Every tensor of a folder as it is stored."""
    data = (folder / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    kinds = {"U8": "u1", "BF16": "<u2", "F32": "<f4"}
    found: Tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        array = np.frombuffer(data[start:][begin:end], kinds[entry["dtype"]])
        found[name] = (entry["dtype"], array.reshape(entry["shape"]))
    return found


def changed(path: Path, source: Path, content: Tensors) -> Path:
    path.mkdir(exist_ok=True)
    shutil.copy(source / "config.json", path)
    save(path / "model.safetensors", content)
    return path


def test_packing_is_by_quarters_of_rows() -> None:
    packed = stored(PACKED)[Q][1]
    codes = load_checkpoint(PACKED).tensors[Q]
    assert codes.dtype == np.int8 and not codes.flags.writeable
    assert codes.shape == (4 * packed.shape[0], packed.shape[1]) == (256, 256)
    for row in (0, 63, 64, 200, 255):
        want = (packed[row % 64] >> 2 * (row // 64) & 3).astype(int) - 1
        np.testing.assert_array_equal(codes[row], want)


def test_scales_multiply_or_divide() -> None:
    for folder, power in ((PACKED, 1), (DIVIDED, -1)):
        checkpoint = load_checkpoint(folder)
        kept = checkpoint.tensors[f"{Q}_scale"]
        codes, scale = projection(checkpoint.config, checkpoint.tensors, Q.removesuffix(".weight"))
        np.testing.assert_array_equal(scale, kept**power)
        assert codes is checkpoint.tensors[Q]


@pytest.mark.parametrize("folder", [PACKED, DIVIDED], ids=lambda folder: folder.name)
def test_shards(folder: Path, tmp_path: Path) -> None:
    content = stored(folder)
    shutil.copy(folder / "config.json", tmp_path)
    scales = {name for name in content if name.endswith("_scale")}
    for k, names in enumerate((scales, content.keys() - scales)):
        part = {name: content[name] for name in sorted(names)}
        save(tmp_path / f"model-0000{k + 1}-of-00002.safetensors", part)
    io = np.load(folder / "io.npz")
    got = float_model(load_checkpoint(tmp_path)).forward_batch(io["input_ids"])
    np.testing.assert_allclose(got, io["logits"], rtol=0, atol=1e-4)


def test_defects_of_packed_files(tmp_path: Path) -> None:
    content = stored(PACKED)
    three = content[Q][1].copy()
    three[5, 7] |= 3
    cases = [
        ({Q: ("U8", three)}, f"tensor {Q}: packed codes are 0, 1 and 2; found 3"),
        ({Q: ("U8", three[:-1])}, f"tensor {Q}: config.json asks for shape [256, 256]; found [252"),
        (
            {Q: ("BF16", three.astype("<u2"))},
            f"tensor {Q}: must be packed codes, uint8; found BF16",
        ),
        ({Q: ("U8", three[0])}, f"tensor {Q}: config.json asks for shape"),
        ({Q: ("U8", three[0, 0].reshape(()))}, f"tensor {Q}: config.json asks for shape"),
        ({f"{Q}_scale": ("F32", np.float32([np.nan]))}, f"tensor {Q}_scale: must be finite"),
        ({f"{Q}_scale": ("F32", np.float32([1, 1]))}, f"tensor {Q}_scale: config.json asks for"),
        ({Q.replace("weight", "bias"): ("F32", np.float32([1]))}, "(biases are not done)"),
    ]
    for change, line in cases:
        assert line in refusal(changed(tmp_path, PACKED, content | change))
    del content[f"{Q}_scale"]
    assert f"tensor {Q}_scale: needed with shape [1]" in refusal(changed(tmp_path, PACKED, content))


def test_scale_that_divides_is_not_zero(tmp_path: Path) -> None:
    content = stored(DIVIDED) | {f"{Q}_scale": ("F32", np.zeros(1, np.float32))}
    checkpoint = load_checkpoint(changed(tmp_path, DIVIDED, content))
    with pytest.raises(Exception, match="must not be 0, it divides"):
        float_model(checkpoint).forward_batch(np.array([[1]]))


def test_buffers_of_rope_are_passed_over(tmp_path: Path) -> None:
    folder = BITNET / "e_h64_l2_1bitllm"
    name = "model.layers.1.self_attn.rotary_emb.inv_freq"
    content = stored(folder) | {name: ("F32", np.ones(8, np.float32))}
    assert load_checkpoint(changed(tmp_path, folder, content)).tensors.keys() == (
        load_checkpoint(folder).tensors.keys()
    )


def test_weights_that_are_ternary_already_keep_their_scale() -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(-1, 2, (40, 30)).astype(np.int8)
    weights = codes * np.float32(0.37)
    got, scale = ternarise(weights)
    np.testing.assert_array_equal(got, codes)
    assert scale == np.float32(0.37) and scale > 1.2 * absmean(weights)[1]
    for other in (rng.normal(size=(5, 6)).astype(np.float32), np.zeros((3, 4), np.float32)):
        got, scale = ternarise(other)
        want, mean = absmean(other)
        np.testing.assert_array_equal(got, want)
        assert scale == mean
