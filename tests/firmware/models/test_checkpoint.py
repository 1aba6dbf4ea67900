"""Checkpoints: every dtype and layout read, every defect named in one line."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from bench.folders import DEMO, VECTORS
from setun.firmware.errors import SetunError
from setun.firmware.models.architecture import HGRN_BIT
from setun.firmware.models.checkpoint import load_checkpoint, parse_config
from setun.firmware.models.hgrn_bit import HgrnBitConfig
from setun.firmware.models.weight_files import WeightFile

CONFIG: dict[str, Any] = {
    "architectures": ["HGRNBitForCausalLM"],
    "model_type": "hgrn_bit",
    "vocab_size": 5,
    "hidden_size": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 3,
    "torch_dtype": "float32",
    "transformers_version": "4.41.2",
    "pad_token_id": None,
}


def config_of(fields: dict[str, Any]) -> HgrnBitConfig:
    """What a config.json describes."""
    architecture, config = parse_config(fields)
    assert architecture is HGRN_BIT
    return config


Tensors = dict[str, tuple[str, np.ndarray]]
"""Name → safetensors dtype and the array as stored."""


def tensors(config: dict[str, Any] = CONFIG) -> Tensors:
    rng = np.random.default_rng(1)
    shapes = HGRN_BIT.expected_shapes(config_of(config))
    return {k: ("F32", rng.normal(size=s).astype(np.float32)) for k, s in shapes.items()}


def save(path: Path, content: Tensors, metadata: dict[str, str] | None = None) -> None:
    """A safetensors file, written without the library so that it can hold anything."""
    header: dict[str, Any] = {"__metadata__": metadata or {"format": "pt"}}
    body = b""
    for name, (dtype, array) in content.items():
        offsets = [len(body), len(body) + array.nbytes]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        body += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def folder(path: Path, config: dict[str, Any] = CONFIG, content: Tensors | None = None) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    save(path / "model.safetensors", tensors(config) if content is None else content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(SetunError) as caught:
        list(load_checkpoint(path).tensors.values())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "folder",
    [VECTORS / "d_h64_l3_nolb", VECTORS / "b_h128_l4", DEMO],
    ids=lambda folder: folder.name,
)
def test_given_checkpoints(folder: Path) -> None:
    checkpoint = load_checkpoint(folder)
    stored = load_file(folder / "model.safetensors")
    assert checkpoint.tensors.keys() == stored.keys()
    for key, value in stored.items():
        np.testing.assert_array_equal(checkpoint.tensors[key], value)
        assert not checkpoint.tensors[key].flags.writeable
    assert (checkpoint.tokenizer_json is None) == (folder != DEMO)


def test_fields_are_honoured() -> None:
    text = (VECTORS / "d_h64_l3_nolb/config.json").read_text()
    config = config_of(json.loads(text))
    assert config == HgrnBitConfig(
        vocab_size=256,
        hidden_size=64,
        num_hidden_layers=3,
        num_heads=4,
        expand_ratio=1,
        use_lower_bound=False,
        intermediate_size=96,
        tie_word_embeddings=False,
        rms_norm_eps=1e-5,
    )
    assert config_of({"model_type": "hgrn_bit"}) == HgrnBitConfig()
    wide = CONFIG | {"expand_ratio": 1.5, "use_lower_bound": False, "num_heads": 3}
    assert config_of(wide).inner_size == 6
    shapes = HGRN_BIT.expected_shapes(config_of(wide))
    assert shapes["model.layers.1.attn.f_proj.weight"] == (6, 4)
    assert shapes["model.layers.1.attn.o_proj.weight"] == (4, 6)
    assert "model.lower_bounds" not in shapes


@pytest.mark.parametrize(
    ("hidden", "intermediate"),
    [(64, 256), (128, 512), (256, 768), (1024, 2816), (2048, 5632), (2560, 6912)],
)
def test_derived_intermediate_size(hidden: int, intermediate: int) -> None:
    fields = CONFIG | {"hidden_size": hidden, "intermediate_size": None}
    assert config_of(fields).intermediate_size == intermediate
    assert config_of(fields | {"hidden_ratio": None}).intermediate_size == intermediate


def test_parameter_count_of_the_released_370m() -> None:
    fields = {"model_type": "hgrn_bit", "hidden_size": 1024, "num_hidden_layers": 24}
    shapes = HGRN_BIT.expected_shapes(config_of(fields))
    assert len(shapes) == 5 + 24 * 15
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 374_108_160


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "mamba"}, 'model_type: must be "bitnet" or "hgrn_bit"'),
        ({"model_type": "llama"}, "quantization_config: must have quant_method"),
        ({"architectures": ["LlamaForCausalLM"]}, "architectures"),
        ({"architectures": 5}, "architectures"),
        ({"attn_mode": "chunk"}, "attn_mode"),
        ({"use_short_conv": True}, "use_short_conv"),
        ({"use_short_conv": 0}, "use_short_conv"),
        ({"expand_ratio": 2}, "expand_ratio: must be 1 with use_lower_bound"),
        ({"expand_ratio": 0.1, "use_lower_bound": False}, "expand_ratio"),
        ({"expand_ratio": None}, "expand_ratio"),
        ({"num_heads": 3}, "num_heads: must divide the state width 4"),
        ({"num_heads": 0}, "num_heads"),
        ({"vocab_size": "65"}, "vocab_size"),
        ({"vocab_size": 10**400}, "vocab_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"hidden_size": -4}, "hidden_size"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_hidden_layers": 2.0}, "num_hidden_layers"),
        ({"intermediate_size": 0}, "intermediate_size"),
        ({"intermediate_size": None, "hidden_ratio": 1e-9}, "hidden_ratio"),
        ({"hidden_ratio": float("nan")}, "hidden_ratio"),
        ({"rms_norm_eps": 0}, "rms_norm_eps"),
        ({"rms_norm_eps": float("inf")}, "rms_norm_eps"),
        ({"use_lower_bound": "yes"}, "use_lower_bound"),
        ({"tie_word_embeddings": None}, "tie_word_embeddings"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
    ],
)
def test_config_fields_refused_by_name(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    path = folder(tmp_path)
    (path / "config.json").write_text(json.dumps(CONFIG | change))
    assert named in refusal(path)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"a":' + b"9" * 9999 + b"}"]
)
def test_damaged_config(tmp_path: Path, text: bytes) -> None:
    path = folder(tmp_path)
    (path / "config.json").write_bytes(text)
    assert "config.json: must be" in refusal(path)
    (path / "config.json").unlink()
    assert "config.json: must be a file; found none" in refusal(path)


def test_dtypes(tmp_path: Path) -> None:
    exact = {k: a.view(np.uint32) & 0xFFFF0000 for k, (_, a) in tensors().items()}
    bfloat: Tensors = {k: ("BF16", (a >> 16).astype("<u2")) for k, a in exact.items()}
    read = load_checkpoint(folder(tmp_path, content=bfloat)).tensors
    for name, bits in exact.items():
        assert read[name].dtype == np.float32
        np.testing.assert_array_equal(read[name].view(np.uint32), bits)
    half: Tensors = {k: ("F16", a.astype("<f2")) for k, (_, a) in tensors().items()}
    read = load_checkpoint(folder(tmp_path, content=half)).tensors
    for name, (_, array) in half.items():
        np.testing.assert_array_equal(read[name], array.astype(np.float32))
    wrong = tensors()
    wrong["lm_head.weight"] = ("F64", wrong["lm_head.weight"][1].astype(np.float64))
    line = refusal(folder(tmp_path, content=wrong))
    assert "lm_head.weight: must be float32, float16 or bfloat16; found F64" in line


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_every_number_of_a_narrow_type(tmp_path: Path, dtype: str) -> None:
    """Bit for bit, subnormal ones and both zeros among them; more than are read at once."""
    bits = np.arange(1 << 16, dtype=np.uint32)
    wide = bits.astype("<u2").view(np.float16).astype(np.float32)
    wide = wide if dtype == "F16" else (bits << 16).view(np.float32)
    finite = np.isfinite(wide)
    stored, wide = (np.tile(each[finite], 2) for each in (bits.astype("<u2"), wide))
    content = stored.view("<f2") if dtype == "F16" else stored
    save(tmp_path / "w.safetensors", {"w": (dtype, content)})
    read = WeightFile(tmp_path / "w.safetensors").reader("w")()
    np.testing.assert_array_equal(read.view(np.uint32), wide.view(np.uint32))


def test_tied_embeddings(tmp_path: Path) -> None:
    tied = CONFIG | {"tie_word_embeddings": True}
    content = tensors(tied)
    copied = content | {"lm_head.weight": content["model.embeddings.weight"]}
    other = content | {"lm_head.weight": ("F32", -content["model.embeddings.weight"][1])}
    del content["lm_head.weight"]
    for accepted in (content, copied):
        read = load_checkpoint(folder(tmp_path, tied, accepted)).tensors
        assert read["lm_head.weight"] is read["model.embeddings.weight"]
    assert "lm_head.weight" in refusal(folder(tmp_path, tied, other))
    assert "lm_head.weight: needed" in refusal(folder(tmp_path, CONFIG, content))


def test_missing_extra_and_misshaped_tensors(tmp_path: Path) -> None:
    name = "model.layers.1.attn.f_proj.weight"
    content = tensors()
    array = content.pop(name)[1]
    line = refusal(folder(tmp_path, content=content))
    assert f"tensor {name}: needed with shape [4, 4]; found 1 of 35 tensors missing" in line
    line = refusal(folder(tmp_path, content=content | {name: ("F32", array[:, :3].copy())}))
    assert f"tensor {name}: config.json asks for shape [4, 4]; found [4, 3]" in line
    extra = "model.layers.2.attn_norm.weight"
    line = refusal(folder(tmp_path, content=tensors() | {extra: ("F32", array)}))
    assert f"tensor {extra}: unknown to the model" in line
    line = refusal(folder(tmp_path, CONFIG | {"use_lower_bound": False}, tensors()))
    assert "model.lower_bounds" in line
    assert "use_lower_bound" in line


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_numbers_that_are_not_finite(tmp_path: Path, value: float, dtype: str) -> None:
    content = tensors()
    array = content["model.lower_bounds"][1].copy()
    array[1, 2] = value
    stored = array if dtype == "F32" else (array.view(np.uint32) >> 16).astype("<u2")
    stored = array.astype("<f2") if dtype == "F16" else stored
    content["model.lower_bounds"] = (dtype, stored)
    line = refusal(folder(tmp_path, content=content))
    assert f"model.lower_bounds: must be finite; found {value} at [1, 2]" in line


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path) / "model.safetensors"
    data = path.read_bytes()
    for length in [*range(40), *range(40, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:length])
        assert "must be a whole safetensors file" in refusal(tmp_path)
    path.write_bytes(data + b"\0")
    assert "must be a whole safetensors file" in refusal(tmp_path)


def test_damaged_header_is_read_the_same_or_refused(tmp_path: Path) -> None:
    path = folder(tmp_path) / "model.safetensors"
    data = path.read_bytes()
    size = 8 + struct.unpack("<Q", data[:8])[0]
    rng = np.random.default_rng(2)
    refused = 0
    for _ in range(400):
        damaged = bytearray(data)
        damaged[rng.integers(size)] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            assert len(load_checkpoint(tmp_path).tensors) == 35
        except SetunError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 350


def sharded(path: Path, edit: Callable[[dict[str, Any]], None] = lambda index: None) -> Path:
    content = tensors()
    folder(path).joinpath("model.safetensors").unlink()
    names = list(content)
    weight_map: dict[str, str] = {}
    for k, part in enumerate((names[:9], names[9:])):
        file = f"model-0000{k + 1}-of-00002.safetensors"
        save(path / file, {name: content[name] for name in part})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    edit(index)
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path


def test_shards(tmp_path: Path) -> None:
    read = load_checkpoint(sharded(tmp_path)).tensors
    for name, (_, array) in tensors().items():
        np.testing.assert_array_equal(read[name], array)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors" in refusal(tmp_path)


OUTSIDE: list[Any] = [
    "../x.safetensors",
    "/etc/x.safetensors",
    "a/b.safetensors",
    "..safetensors",
    "",
    3,
]
OUTSIDE += ["a\\b.safetensors", "C:x.safetensors", "x\0.safetensors", "pytorch_model.bin", None]
OUTSIDE += ["a\ud800.safetensors", ".x.safetensors"]


@pytest.mark.parametrize("name", OUTSIDE, ids=range(len(OUTSIDE)))
def test_shards_outside_the_folder(tmp_path: Path, name: Any) -> None:
    path = sharded(tmp_path, lambda index: index["weight_map"].update({"lm_head.weight": name}))
    assert "plain *.safetensors names" in refusal(path)


def test_shards_and_index_disagree(tmp_path: Path) -> None:
    first = "model-00001-of-00002.safetensors"
    path = sharded(tmp_path, lambda index: index["weight_map"].update({"lm_head.weight": first}))
    assert f"lm_head.weight: the index promises it in {first}" in refusal(path)
    save(path / first, {**tensors()})
    assert "must be in one file only" in refusal(path)
    for damage in ("{}", '{"weight_map": []}', '{"weight_map": {}}', "{"):
        (path / "model.safetensors.index.json").write_text(damage)
        assert "index.json" in refusal(path)


def test_which_files_are_weights(tmp_path: Path) -> None:
    path = folder(tmp_path / "a")
    moved = path / "other.safetensors"
    (path / "model.safetensors").rename(moved)
    assert len(load_checkpoint(path).tensors) == 35
    (path / "third.safetensors").write_bytes(moved.read_bytes())
    line = refusal(path)
    assert "needs model.safetensors, an index or files that share no tensor" in line
    assert "found other.safetensors and third.safetensors" in line
    (path / "third.safetensors").unlink()
    (path / "model.safetensors").symlink_to(moved)
    assert len(load_checkpoint(path).tensors) == 35
    moved.unlink()
    assert "found no such file" in refusal(path)
    (path / "model.safetensors").unlink()
    (path / "model.safetensors").mkdir()
    assert "must be a safetensors file" in refusal(path)
    assert "a checkpoint is a folder" in refusal(tmp_path / "nowhere")
    assert "a checkpoint is a folder" in refusal(moved)


def test_tokenizer_text(tmp_path: Path) -> None:
    path = folder(tmp_path)
    assert load_checkpoint(path).tokenizer_json is None
    (path / "tokenizer.json").write_text("{é}", encoding="utf-8")
    assert load_checkpoint(path).tokenizer_json == "{é}"
    (path / "tokenizer.json").write_bytes(b"\xff")
    assert "must be UTF-8" in refusal(path)
