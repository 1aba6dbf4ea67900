"""Ways in which checkpoints are commonly saved: read, or what they are and what helps."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from firmware.models.test_checkpoint import CONFIG, Tensors, folder, refusal, save, tensors
from setun.firmware.errors import SetunError
from setun.firmware.models.checkpoint import load_checkpoint
from setun.models import find
from setun.models.load import open_model

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4cac19\nsize 1489\n"
EMBEDDING, HEAD = "model.embeddings.weight", "lm_head.weight"
TIED = CONFIG | {"tie_word_embeddings": True}


def same_as_saved(path: Path, content: Tensors) -> None:
    read = load_checkpoint(path).tensors
    assert read.keys() == content.keys()
    for name, (_, array) in content.items():
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize("config", [CONFIG, TIED], ids=["metadata", "configuration"])
@pytest.mark.parametrize(("kept", "left_out"), [(HEAD, EMBEDDING), (EMBEDDING, HEAD)])
@pytest.mark.parametrize("wrapper", ["", "_orig_mod."])
def test_tied_weights_under_either_name(
    tmp_path: Path, config: dict, kept: str, left_out: str, wrapper: str
) -> None:
    """`safetensors.torch.save_model` leaves one out, and says so in the metadata."""
    content = tensors()
    content[left_out] = content[kept]
    stored = {wrapper + name: value for name, value in content.items() if name != left_out}
    metadata = {"format": "pt"}
    if config is CONFIG:
        metadata[wrapper + left_out] = wrapper + kept
    save(folder(tmp_path, config) / "model.safetensors", stored, metadata)
    same_as_saved(tmp_path, content)


def test_metadata_that_is_no_tie(tmp_path: Path) -> None:
    content = tensors()
    norm = content.pop("lm_head.norm.weight")
    for other in (EMBEDDING, "nothing", "lm_head.norm.weight"):  # of another shape, not there
        save(
            folder(tmp_path) / "model.safetensors",
            content,
            {"format": "pt", "lm_head.norm.weight": other},
        )
        assert "tensor lm_head.norm.weight: needed" in refusal(tmp_path)
    save(tmp_path / "model.safetensors", content | {"lm_head.norm.weight": norm}, {HEAD: EMBEDDING})
    same_as_saved(tmp_path, tensors())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: name.replace("model.layers.0.", "model.layers.0._orig_mod."),
        lambda name: f"_fsdp_wrapped_module.{name}",
        lambda name: name.replace(".attn.", ".attn._checkpoint_wrapped_module."),
    ],
)
def test_names_with_what_training_put_into_them(tmp_path: Path, wrap: Callable[[str], str]) -> None:
    content = tensors()
    folder(tmp_path, content={wrap(name): value for name, value in content.items()})
    same_as_saved(tmp_path, content)


def test_a_wrapped_name_beside_the_plain_one(tmp_path: Path) -> None:
    content = tensors()
    folder(tmp_path, content=content | {f"module.{HEAD}": content[HEAD]})
    assert f"tensor {HEAD}: must be in one file only" in refusal(tmp_path)
    folder(tmp_path, content=content | {"module.other": content[HEAD]})
    assert "tensor module.other: unknown to the model" in refusal(tmp_path)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize(
    ("data", "found"),
    [
        (POINTER, "a Git LFS pointer, not the file itself (in the repository's folder: git lfs "),
        (b"<!DOCTYPE html>\n<html>", "a web page (download the file itself"),
        (b"\n<html lang=en>", "a web page (download the file itself"),
        (b"\x1f\x8b\x08", "a gzip archive (unpack it)"),
        (b"PK\x03\x04", "a PyTorch pickle or another zip (save with safe_serialization=True)"),
        (b"\x80\x02}", "a Python pickle (save with safe_serialization=True)"),
        (b"GGUF\x03\0", "a GGUF file (give it as the model, by its own path)"),
    ],
)
def test_files_that_are_not_what_they_seem(
    tmp_path: Path, file: str, data: bytes, found: str
) -> None:
    (folder(tmp_path) / file).write_bytes(data)
    line = refusal(tmp_path)
    assert file in line and f"; found {found}" in line
    with pytest.raises(SetunError) as caught:
        open_model(tmp_path / file)  # as an image, or as the checkpoint that a GGUF file is
    whole = data.startswith(b"GGUF")
    rule = "must be a whole GGUF file" if whole else f"must be a Setun image; found {found}"
    assert rule in str(caught.value)


def test_a_checkpoint_file_as_a_model(tmp_path: Path) -> None:
    path = folder(tmp_path)
    for name in ("config.json", "model.safetensors"):
        with pytest.raises(SetunError, match="setun import makes one of a checkpoint's folder"):
            open_model(path / name)


def test_json_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = folder(tmp_path)
    for name, text in (("config.json", json.dumps(CONFIG)), ("tokenizer.json", "{}")):
        (path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_checkpoint(path).tokenizer_json == "{}"


def unindexed(path: Path, *names: str) -> Tensors:
    """Weights in several files, and nothing that lists them."""
    content = tensors()
    folder(path).joinpath("model.safetensors").unlink()
    for k, name in enumerate(names):
        save(path / name, dict(list(content.items())[k :: len(names)]))
    return content


SHARDS = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def test_files_without_an_index(tmp_path: Path) -> None:
    same_as_saved(tmp_path / "a", unindexed(tmp_path / "a", *SHARDS))
    # Mistral's name for the same weights in one file.
    save(tmp_path / "a" / "consolidated.safetensors", tensors())
    same_as_saved(tmp_path / "a", tensors())
    same_as_saved(tmp_path / "b", unindexed(tmp_path / "b", "x.safetensors", "y.safetensors"))
    same_as_saved(tmp_path / "c", unindexed(tmp_path / "c", "model.fp16.safetensors"))
    (tmp_path / "a" / SHARDS[0]).unlink()
    line = refusal(tmp_path / "a")
    assert f"{SHARDS[0]}: must be there, as one of 2 shards; found 1 missing" in line


def test_an_index_of_a_variant(tmp_path: Path) -> None:
    names = [name.replace("model", "model.bf16") for name in SHARDS]
    content = unindexed(tmp_path, *names)
    weight_map = {name: names[k % 2] for k, name in enumerate(content)}
    index = tmp_path / "model.bf16.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    same_as_saved(tmp_path, content)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("pytorch_model.bin", "pickles alone: pytorch_model.bin (save the model with safe_ser"),
        ("model.pt", "pickles alone: model.pt (save"),
        ("last.ckpt", "pickles alone: last.ckpt (save"),
        ("model-q8.gguf", "GGUF alone: model-q8.gguf (give the file itself"),
        ("tf_model.h5", "TensorFlow's weights alone: tf_model.h5 (save"),
        ("notes.txt", "none (save the model with safe_serialization=True)"),
    ],
)
def test_weights_of_other_kinds(tmp_path: Path, name: str, found: str) -> None:
    folder(tmp_path).joinpath("model.safetensors").rename(tmp_path / name)
    assert f"needs *.safetensors; found {found}" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("weights", ["model.safetensors", "model.fp16.safetensors"])
def test_adapters_are_refused(tmp_path: Path, name: str, weights: str) -> None:
    path = folder(tmp_path)
    (path / "model.safetensors").rename(path / weights)
    (path / name).write_bytes(b"{}")
    line = refusal(path)
    assert f"an adapter must be merged into its model; found {name} (peft: model.merge_" in line
    assert f"or move it away to read {weights} without it" in line
    (path / weights).unlink()
    (path / "config.json").unlink()
    with pytest.raises(SetunError, match="an adapter must be merged"):
        find(path)


@pytest.mark.parametrize("dtype", ["F64", "F8_E4M3", "F8_E5M2", "I8", "U8"])
def test_dtypes_of_other_kinds(tmp_path: Path, dtype: str) -> None:
    array = np.zeros((5, 4), np.float64 if dtype == "F64" else np.uint8)
    folder(tmp_path, content=tensors() | {HEAD: (dtype, array)})
    line = refusal(tmp_path)
    assert f"must be float32, float16 or bfloat16; found {dtype} (save the weights" in line


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("tokenizer.model", "found tokenizer.model (transformers: AutoTokenizer.from_pretrained"),
        ("vocab.json", "found vocab.json (transformers: AutoTokenizer.from_pretrained"),
        ("README.md", "found none (put one beside config.json, or give token ids)"),
    ],
)
def test_tokenizers_of_other_kinds(tmp_path: Path, name: str, found: str) -> None:
    (folder(tmp_path) / name).write_bytes(b"")
    with pytest.raises(SetunError) as caught:
        open_model(tmp_path).tokenizer()
    assert found in str(caught.value)


def test_gguf_alone(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert find(tmp_path) == tmp_path / "model.gguf"
