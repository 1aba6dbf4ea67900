"""GGUF files: twins of packed folders, layouts of every type, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.folders import BITNET
from bench.grouped import LIKE_BONSAI
from firmware.models.gguf import writing
from firmware.models.gguf.writing import Stored, floats, i2_s, q2_0, write
from setun.firmware.errors import SetunError
from setun.firmware.models.architecture import find
from setun.firmware.models.bitnet.config import BitnetConfig
from setun.firmware.models.bitnet.projections import projections
from setun.firmware.models.checkpoint import Checkpoint, load_checkpoint
from setun.firmware.models.gguf.container import GgufFile
from setun.models import find as find_model
from setun.models.random import random_checkpoint
from setun.sim.reference import float_model

TWINS = {"q": BITNET / "q_h256_l2_packed_silu", "p": BITNET / "p_h256_l4_packed"}
FILES = sorted((BITNET / "gguf").glob("*.gguf"))
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.attn_sub_norm": "attn_sub_norm",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.ffn_sub_norm": "ffn_sub_norm",
}


def metadata(architecture: str, config: BitnetConfig) -> dict[str, Any]:
    return {
        "general.architecture": architecture,
        f"{architecture}.context_length": config.max_position_embeddings,
        f"{architecture}.embedding_length": config.hidden_size,
        f"{architecture}.block_count": config.num_hidden_layers,
        f"{architecture}.feed_forward_length": config.intermediate_size,
        f"{architecture}.attention.head_count": config.num_attention_heads,
        f"{architecture}.attention.head_count_kv": config.num_key_value_heads,
        f"{architecture}.attention.key_length": config.head_dim,
        f"{architecture}.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        f"{architecture}.rope.freq_base": config.rope_theta,
    }


def name_in_file(name: str) -> str:
    top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    stem, kind = name.rsplit(".", 1)
    if stem in top:
        return f"{top[stem]}.{kind}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{NAMES[part]}.{kind}"


def tensors_of(checkpoint: Checkpoint, **matrices: Any) -> dict[str, Stored]:
    """Norms and the embedding as float32, each matrix as `matrix` of codes and scale makes it."""
    found, config = {}, checkpoint.config
    for name, tensor in checkpoint.tensors.items():
        if name.endswith("weight_scale") or name in checkpoint.architecture.tied(config):
            continue
        if name.removesuffix(".weight") in projections(config):
            scale = checkpoint.tensors[f"{name}_scale"]
            scale = np.float32(1) / scale if config.scale_divides else scale
            found[name_in_file(name)] = matrices["matrix"](name, tensor, scale)
        else:
            found[name_in_file(name)] = floats(tensor)
    return found


def for_neighbours(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows as llama.cpp's converter leaves those of a Llama."""
    return rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def same_tensors(a: Checkpoint, b: Checkpoint) -> None:
    assert a.tensors.keys() == b.tensors.keys()
    for name in a.tensors:
        np.testing.assert_array_equal(a.tensors[name], b.tensors[name], err_msg=name)
        assert not a.tensors[name].flags.writeable


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_twins_of_packed_folders(path: Path) -> None:
    """Every code, scale, norm and number equal, so the logits are the same to the last bit."""
    got, want = load_checkpoint(path), load_checkpoint(TWINS[path.name[0]])
    assert got.config == want.config and got.format == "GGUF"
    same_tensors(got, want)
    io = np.load(TWINS[path.name[0]] / "io.npz")
    logits = float_model(got).forward_batch(io["input_ids"])
    np.testing.assert_allclose(logits, io["logits"], rtol=0, atol=1e-4)
    np.testing.assert_array_equal(logits, float_model(want).forward_batch(io["input_ids"]))


def test_rows_of_llamas_are_turned_back(tmp_path: Path) -> None:
    folder = BITNET / "l_h128_l2_llama_bitlinear"
    want = load_checkpoint(folder)
    heads = {"q": want.config.num_attention_heads, "k": want.config.num_key_value_heads}

    def matrix(name: str, codes: np.ndarray, scale: np.ndarray) -> Stored:
        turned = [n for p, n in heads.items() if f"{p}_proj" in name]
        return i2_s(for_neighbours(codes, turned[0]) if turned else codes, float(scale[0]))

    path = write(
        tmp_path / "l.gguf", metadata("llama", want.config), tensors_of(want, matrix=matrix)
    )
    got = load_checkpoint(path)
    assert got.config == replace(want.config, scale_divides=False)
    io = np.load(folder / "io.npz")
    logits = float_model(got).forward_batch(io["input_ids"])
    np.testing.assert_allclose(logits, io["logits"], rtol=0, atol=1e-4)


def bonsai(head: bool, tied: bool) -> Checkpoint:
    """A model with norms of queries and keys, and scales of groups that float16 holds."""
    config = replace(
        LIKE_BONSAI,
        vocab_size=20,
        hidden_size=128,
        intermediate_size=256,
        head_dim=64,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        ternary_head=head,
    )
    made = random_checkpoint(find("bitnet"), config, seed=5)
    rng, tensors = np.random.default_rng(6), dict(made.tensors)
    for name, (rows, columns) in projections(config).items():
        tensors[f"{name}.weight"] = rng.integers(-1, 2, (rows, columns)).astype(np.int8)
        scales = rng.normal(size=(rows, columns // 128)).astype(np.float16)
        tensors[f"{name}.weight_scale"] = scales.astype(np.float32)
    if head and tied:
        scale = tensors["lm_head.weight_scale"]
        tensors["model.embed_tokens.weight"] = np.float32(tensors["lm_head.weight"] * scale)
    for tensor in tensors.values():
        tensor.flags.writeable = False
    return replace(made, tensors=tensors)


@pytest.mark.parametrize(("block", "kind"), [(64, 42), (128, 42), (128, 142)])
@pytest.mark.parametrize(("head", "tied"), [(True, True), (True, False), (False, True)])
def test_groups_in_both_layouts(
    block: int, kind: int, head: bool, tied: bool, tmp_path: Path
) -> None:
    """Q2_0 of 64 or 128 weights has one number: how large the tensors are tells."""
    want = bonsai(head, tied)
    stored = tensors_of(want, matrix=lambda name, codes, scale: q2_0(codes, scale, block, kind))
    if head and tied:
        stored["token_embd.weight"] = stored.pop("output.weight")
    got = load_checkpoint(write(tmp_path / "b.gguf", metadata("qwen3", want.config), stored))
    assert got.config == want.config
    same_tensors(got, want)
    ids = np.arange(12).reshape(2, 6)
    np.testing.assert_array_equal(
        float_model(got).forward_batch(ids), float_model(want).forward_batch(ids)
    )


def small(**changed: Any) -> tuple[dict[str, Any], dict[str, Stored]]:
    """Metadata and tensors of a small file; `changed` ones of either, None leaves out."""
    config = BitnetConfig(
        vocab_size=24,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        rope_theta=1e4,
        tie_word_embeddings=True,
        packed=True,
    )
    made = random_checkpoint(find("bitnet"), config, seed=1)
    rng = np.random.default_rng(2)
    stored = tensors_of(
        made, matrix=lambda name, w, s: i2_s(rng.integers(-1, 2, w.shape).astype(np.int8), 0.5)
    )
    values = metadata("bitnet-b1.58", config)
    for name, entry in changed.items():
        place: dict[str, Any] = stored if isinstance(entry, tuple) or name in stored else values
        place[name] = entry
    kept = {name: entry for name, entry in stored.items() if entry is not None}
    return {key: found for key, found in values.items() if found is not None}, kept


def refusal(path: Path) -> str:
    with pytest.raises(SetunError) as caught:
        list(load_checkpoint(path).tensors.values())
    assert "\n" not in str(caught.value)
    return str(caught.value)


Q = "blk.0.attn_q.weight"
PLAIN = np.ones((16, 16), np.float32)
DEFECTS: list[tuple[dict[str, Any], str]] = [
    ({"general.architecture": "gpt2"}, "must be one of bitnet, bitnet-25, bitnet-b1.58, llama"),
    ({"general.architecture": None}, "must be one of bitnet"),
    ({"general.architecture": 7}, "must be one of bitnet"),
    ({"bitnet-b1.58.block_count": None}, "must say block_count"),
    ({"bitnet-b1.58.block_count": 2}, "tensor model.layers.1.input_layernorm.weight: needed"),
    ({"bitnet-b1.58.embedding_length": 32}, "d.gguf asks for shape [24, 32]; found [24, 16]"),
    ({"bitnet-b1.58.embedding_length": "x"}, "d.gguf hidden_size: must be a whole number"),
    ({"bitnet-b1.58.attention.head_count": [4, 4]}, "num_attention_heads: must be a whole"),
    ({"bitnet-b1.58.rope.dimension_count": 2}, "rope.dimension_count must be the width of a head"),
    ({"bitnet-b1.58.rope.scaling.type": "yarn"}, "rope_scaling: must not scale RoPE"),
    ({"bitnet-b1.58.attention.sliding_window": 64}, "sliding_window: must be absent"),
    ({"bitnet-b1.58.expert_count": 4}, "num_experts: must be absent"),
    ({"prism.hadamard.block_size": 1024}, "prism.hadamard.block_size: must be absent"),
    ({"split.count": 2}, "must be a whole model; found a part of one"),
    ({"general.alignment": 24}, "general.alignment must be a power of two; found 24"),
    ({Q: None}, "tensor model.layers.0.self_attn.q_proj.weight: needed with shape [16, 16]"),
    ({Q: (12, (16, 16), bytes(256))}, "must be of a type that is read: F32, F16"),
    ({Q: (12, (16, 16), bytes(256))}, "found Q4_K (quantise the others with --token-embedding"),
    ({Q: (99, (16, 16), bytes(256))}, "found type 99"),
    ({Q: (35, (16, 16), bytes(66))}, "rows of TQ2_0 must be multiples of 256; found [16, 16]"),
    ({Q: (36, (16, 16), b"\xff" * 96)}, "I2_S codes: must be 0, 1 and 2; found 3"),
    ({Q: (36, (16, 16), bytes(64) + b"\0\0\xc0\x7f" + bytes(28))}, "must be finite; found nan"),
    ({Q: (0, (16,), bytes(64))}, f"tensor {Q}: must be a matrix of whole groups; found [16]"),
    ({Q: floats(PLAIN * np.nan)}, f"tensor {Q}: must be finite"),
    ({"blk.0.attn_q.bias": floats(PLAIN[0])}, "found it in d.gguf (biases are not done)"),
    ({"rope_freqs.weight": floats(PLAIN[0])}, "(scaled positions are not done)"),
    ({"blk.0.ffn_gate_inp.weight": floats(PLAIN)}, "(experts are not done)"),
]


@pytest.mark.parametrize(("change", "line"), DEFECTS, ids=range(len(DEFECTS)))
def test_defects(change: dict[str, Any], line: str, tmp_path: Path) -> None:
    assert load_checkpoint(write(tmp_path / "whole.gguf", *small())).config.hidden_size == 16
    assert line in refusal(write(tmp_path / "d.gguf", *small(**change)))


def test_models_that_are_not_ternary(tmp_path: Path) -> None:
    values, stored = small(**{Q: floats(PLAIN)})
    values = {key.replace("bitnet-b1.58", "llama"): found for key, found in values.items()}
    values["general.architecture"] = "llama"
    stored = {name: entry for name, entry in stored.items() if "sub_norm" not in name}
    line = refusal(write(tmp_path / "d.gguf", values, stored))
    assert f"tensor {Q}: must be ternary in a model of llama; found F32" in line


def test_floats_and_factors(tmp_path: Path) -> None:
    """Matrices of 0, +s and -s keep s, and a factor of mainline's converter goes on top."""
    codes = np.random.default_rng(3).integers(-1, 2, (16, 16)).astype(np.int8)
    change = {Q: floats(codes * 0.25), "blk.0.attn_q.scale": floats(np.float32([3]))}
    tensors = load_checkpoint(write(tmp_path / "m.gguf", *small(**change))).tensors
    name = "model.layers.0.self_attn.q_proj.weight"
    np.testing.assert_array_equal(tensors[name], codes)
    assert tensors[f"{name}_scale"].tolist() == [0.75]


def test_blocks_of_a_matrix_have_one_scale(tmp_path: Path) -> None:
    path = tmp_path / "t.gguf"
    path.write_bytes(FILES[-1].read_bytes())
    assert "TQ2_0" in path.read_bytes().decode("latin-1") or FILES[-1].stem.endswith("TQ2_0")
    entry = GgufFile(path).tensors["blk.0.attn_k.weight"]
    data = bytearray(path.read_bytes())
    data[entry.begin + 64 : entry.begin + 66] = b"\0\x3c"
    path.write_bytes(data)
    assert "blocks must have the matrix's scale; found" in refusal(path)
    data[entry.begin + 64 : entry.begin + 66] = b"\0\0"  # a block of zeros
    path.write_bytes(data)
    codes = load_checkpoint(path).tensors["model.layers.0.self_attn.k_proj.weight"]
    assert not codes[0].any() and codes[1].any()


def test_folder_with_one_file(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", *small())
    assert find_model(tmp_path) == path
    write(tmp_path / "n.gguf", *small())
    with pytest.raises(SetunError, match=r"found m\.gguf and n\.gguf \(give one"):
        find_model(tmp_path)


def test_other_files_and_versions(tmp_path: Path) -> None:
    data = write(tmp_path / "m.gguf", *small()).read_bytes()
    for version, line in ((1, "found version 1"), (3 << 24, "found big-endian")):
        (tmp_path / "v.gguf").write_bytes(data[:4] + version.to_bytes(4, "little") + data[8:])
        assert line in refusal(tmp_path / "v.gguf")
    (tmp_path / "v.gguf").write_bytes(b"")
    assert "must be a whole GGUF file; found nothing" in refusal(tmp_path / "v.gguf")
    (tmp_path / "v.gguf").write_bytes(b"GGML" + data[4:])
    assert "must begin with GGUF" in refusal(tmp_path / "v.gguf")


def test_arrays_of_metadata(tmp_path: Path) -> None:
    extra = {"a.b": ["x", "é"], "c": [1, -2], "d": [0.5], "e": True, "general.alignment": 64}
    values, stored = small(**extra)
    file = GgufFile(write(tmp_path / "m.gguf", values, stored, 64))
    assert file.values["a.b"] == ["x", "é"] and file.values["e"] is True
    assert file.values["c"].tolist() == [1, -2] and file.values["d"].tolist() == [0.5]
    assert all(entry.begin % 64 == 0 for entry in file.tensors.values())
    assert writing.head(values, stored, 64)[:4] == b"GGUF"
