"""Reads a MatMul-free LM (HGRNBit) checkpoint: config.json, *.safetensors, tokenizer.json.

The folder layout is that of Hugging Face's ``save_pretrained``; names, shapes and defaults
are upstream's (ridgerchu/matmulfreellm, ``configuration_hgrn_bit.py``). What upstream would
honour is honoured, what it cannot run (short convolutions, another attention mode, lower
bounds of another width) is refused by name.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from setun.firmware.errors import SetunError

MODEL_TYPE = "hgrn_bit"
ARCHITECTURE = "HGRNBitForCausalLM"
JSON_LIMIT = 64 << 20
"""Largest config, index or tokenizer file read, in bytes."""

Tensor = NDArray[np.float32]
_STORED: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Shape of an HGRNBit model, field names and defaults as upstream's."""

    vocab_size: int = 32000
    """Rows of the embedding and of the head."""
    hidden_size: int = 2048
    """Width of the residual stream."""
    num_hidden_layers: int = 24
    num_heads: int = 1
    """Reshapes the recurrent state, changes no number."""
    expand_ratio: float = 1
    use_lower_bound: bool = True
    """Forget gates are bounded from below by a learned table, one row per layer."""
    intermediate_size: int = 5632
    """Width of the GLU; derived from `hidden_size` when the file has null."""
    tie_word_embeddings: bool = False
    """The head's matrix is the embedding matrix (the head's copy is still ternarised)."""
    rms_norm_eps: float = 1e-6
    """Of every norm but the one inside each BitLinear, which is fixed at 1e-6."""

    @property
    def inner_size(self) -> int:
        """Width of i, f, g and of the recurrent state (upstream's ``input_dim``)."""
        return int(self.hidden_size * self.expand_ratio)


@dataclass(frozen=True)
class Checkpoint:
    """A complete, checked model.

    `tensors` holds exactly the names of `expected_shapes`, float32, finite, read-only, in
    upstream's ``[out, in]`` layout. With tied embeddings ``lm_head.weight`` is the embedding.
    """

    config: ModelConfig
    tensors: Mapping[str, Tensor]
    tokenizer_json: str | None
    """Text of tokenizer.json, unchecked; None when the folder has none."""


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a model, in upstream's order."""
    h, d, i = config.hidden_size, config.inner_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {"model.embeddings.weight": (config.vocab_size, h)}
    if config.use_lower_bound:
        shapes["model.lower_bounds"] = (config.num_hidden_layers, h)
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        shapes[prefix + "attn_norm.weight"] = (h,)
        for name in ("i", "f", "g"):
            shapes[f"{prefix}attn.{name}_proj.weight"] = (d, h)
            shapes[f"{prefix}attn.{name}_proj.norm.weight"] = (h,)
        shapes[prefix + "attn.g_norm.weight"] = (d,)
        shapes[prefix + "attn.o_proj.weight"] = (h, d)
        shapes[prefix + "attn.o_proj.norm.weight"] = (d,)
        shapes[prefix + "mlp_norm.weight"] = (h,)
        shapes[prefix + "mlp.gate_proj.weight"] = (2 * i, h)
        shapes[prefix + "mlp.gate_proj.norm.weight"] = (h,)
        shapes[prefix + "mlp.down_proj.weight"] = (h, i)
        shapes[prefix + "mlp.down_proj.norm.weight"] = (i,)
    shapes["model.norm.weight"] = (h,)
    shapes["lm_head.weight"] = (config.vocab_size, h)
    shapes["lm_head.norm.weight"] = (h,)
    return shapes


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read and check a checkpoint folder.

    Weights come from ``model.safetensors``, else from the shards that
    ``model.safetensors.index.json`` lists, else from the only ``*.safetensors`` there;
    float32, float16 or bfloat16, widened to float32.

    Raises
    ------
    SetunError
        For everything wrong with the files, naming file, field or tensor.
    """
    try:
        if not folder.is_dir():
            raise SetunError(str(folder), "a checkpoint is a folder", "no folder of that name")
        config = parse_config(_read_json(folder / "config.json"))
        tensors = _load_tensors(folder, config)
        tokenizer = folder / "tokenizer.json"
        text = _read_text(tokenizer) if tokenizer.exists() else None
    except OSError as error:
        raise SetunError(str(error.filename or folder), "must be readable", error) from error
    return Checkpoint(config, tensors, text)


def parse_config(fields: Mapping[str, Any]) -> ModelConfig:
    """Check the fields of a config.json; absent ones take upstream's defaults.

    Ignored, as upstream's forward pass ignores them: hidden_act (always SiLU), conv_size,
    share_conv_kernel, max_position_embeddings, token ids, and whatever Hugging Face adds.
    """
    reader = _Fields(fields)
    if fields.get("model_type") != MODEL_TYPE:
        reader.refuse("model_type", f'must be "{MODEL_TYPE}"', "only MatMul-free LMs are supported")
    architectures = fields.get("architectures") or [ARCHITECTURE]
    if not isinstance(architectures, list) or ARCHITECTURE not in architectures:
        reader.refuse("architectures", f'must name "{ARCHITECTURE}"')
    if fields.get("attn_mode", "fused_recurrent") != "fused_recurrent":
        reader.refuse("attn_mode", 'must be "fused_recurrent"', "upstream knows no other")
    if reader.boolean("use_short_conv", False):
        reader.refuse("use_short_conv", "must be false", "upstream cannot run it either")
    if fields.get("quantization_config") is not None:
        reader.refuse("quantization_config", "must be absent", "import the unquantised weights")

    hidden = reader.integer("hidden_size", 2048, 1 << 16)
    ratio = 4.0 if fields.get("hidden_ratio") is None else reader.real("hidden_ratio", 4)
    if fields.get("intermediate_size") is None:
        intermediate = 256 * math.ceil(int(hidden * ratio * 2 / 3) / 256)
        if not 1 <= intermediate <= 1 << 20:
            reader.refuse("hidden_ratio", "must give an intermediate_size of 1 to 1048576")
    else:
        intermediate = reader.integer("intermediate_size", 0, 1 << 20)
    config = ModelConfig(
        vocab_size=reader.integer("vocab_size", 32000, 1 << 24),
        hidden_size=hidden,
        num_hidden_layers=reader.integer("num_hidden_layers", 24, 1 << 10),
        num_heads=reader.integer("num_heads", 1, 1 << 16),
        expand_ratio=reader.real("expand_ratio", 1),
        use_lower_bound=reader.boolean("use_lower_bound", True),
        intermediate_size=intermediate,
        tie_word_embeddings=reader.boolean("tie_word_embeddings", False),
        rms_norm_eps=reader.real("rms_norm_eps", 1e-6),
    )
    if not 1 <= config.inner_size <= 1 << 20:
        reader.refuse("expand_ratio", "times hidden_size must give a width of 1 to 1048576")
    if config.use_lower_bound and config.inner_size != hidden:
        reader.refuse("expand_ratio", "must be 1 with use_lower_bound", "the bounds are H wide")
    if config.inner_size % config.num_heads:
        reader.refuse("num_heads", f"must divide the state width {config.inner_size}")
    if config.rms_norm_eps >= 1:
        reader.refuse("rms_norm_eps", "must be above 0 and below 1")
    return config


class _Fields:
    """Typed access to config.json; JSON's true is no integer and "64" is no number."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields = fields

    def refuse(self, name: str, rule: str, fix: str = "") -> NoReturn:
        found = json.dumps(self.fields.get(name))
        raise SetunError(f"config.json {name}", rule, found[:60], fix)

    def boolean(self, name: str, default: bool) -> bool:
        value = self.fields.get(name, default)
        if not isinstance(value, bool):
            self.refuse(name, "must be true or false")
        return value

    def integer(self, name: str, default: int, limit: int) -> int:
        value = self.fields.get(name, default)
        if type(value) is not int or not 1 <= value <= limit:
            self.refuse(name, f"must be a whole number from 1 to {limit}")
        return int(value)

    def real(self, name: str, default: float) -> float:
        value = self.fields.get(name, default)
        if type(value) not in (int, float) or not 0 < value < 1e6:
            self.refuse(name, "must be a number above 0")
        return float(value)


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise SetunError(str(path), "must be a file", "something else" if path.exists() else "none")
    if path.stat().st_size > JSON_LIMIT:
        raise SetunError(str(path), f"holds at most {JSON_LIMIT} bytes", path.stat().st_size)
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise SetunError(str(path), "must be UTF-8", error) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise SetunError(str(path), "must be JSON", error) from error
    if not isinstance(value, dict):
        raise SetunError(str(path), "must be a JSON object", type(value).__name__)
    return value


def _load_tensors(folder: Path, config: ModelConfig) -> dict[str, Tensor]:
    shapes = expected_shapes(config)
    found: dict[str, Tensor] = {}
    for path, listed in _weight_files(folder).items():
        file = _WeightFile(path)
        if listed is not None and (absent := listed - set(file.shapes)):
            raise SetunError(f"tensor {min(absent)}", f"the index promises it in {path.name}")
        for name, shape in file.shapes.items():
            if name in found or name not in shapes:
                rule = "must be in one file only" if name in found else "unknown to the model"
                fix = "config.json and weights disagree" if "layers" in name else ""
                if name == "model.lower_bounds":
                    fix = "config.json says use_lower_bound false"
                raise SetunError(f"tensor {name}", rule, f"it in {path.name}", fix)
            if shape != shapes[name]:
                raise SetunError(
                    f"tensor {name}",
                    f"config.json asks for shape {list(shapes[name])}",
                    f"{list(shape)}",
                )
            found[name] = file.read(name)
    embedding, head = "model.embeddings.weight", "lm_head.weight"
    if config.tie_word_embeddings and embedding in found:
        if head in found and not np.array_equal(found[head], found[embedding]):
            raise SetunError(
                f"tensor {head}", "with tie_word_embeddings it is the embedding", "another matrix"
            )
        found[head] = found[embedding]
    if missing := [name for name in shapes if name not in found]:
        raise SetunError(
            f"tensor {missing[0]}",
            f"needed with shape {list(shapes[missing[0]])}",
            f"{len(missing)} of {len(shapes)} tensors missing",
        )
    return {name: found[name] for name in shapes}


def _weight_files(folder: Path) -> dict[Path, set[str] | None]:
    """Weight files and, where an index lists them, the tensors each must hold."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return {single: None}
    if not index.exists():
        files = sorted(folder.glob("*.safetensors"))
        if len(files) != 1:
            raise SetunError(
                str(folder),
                "needs model.safetensors or model.safetensors.index.json",
                f"{len(files)} *.safetensors",
                "save the model with safe_serialization=True",
            )
        return {files[0]: None}
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise SetunError(str(index), "must have a weight_map object", "none")
    shards: dict[Path, set[str] | None] = {}
    for tensor, name in weight_map.items():
        if not isinstance(name, str) or not _is_plain_name(name):
            raise SetunError(
                f"{index} weight_map",
                "shards are plain *.safetensors names beside the index",
                json.dumps(name)[:60],
            )
        listed = shards.setdefault(folder / name, set())
        if listed is not None:
            listed.add(tensor)
    return shards


def _is_plain_name(name: str) -> bool:
    forbidden = any(c in name for c in "/\\:") or ".." in name or not name.isprintable()
    return name.endswith(".safetensors") and not forbidden and not name.startswith(".")


class _WeightFile:
    """A safetensors file, validated by the safetensors library, read one tensor at a time.

    The library's NumPy front end knows no bfloat16, so the bytes are read here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if not path.is_file():
                raise SetunError(str(path), "must be a safetensors file", "no such file")
            with safe_open(path, framework="np") as checked:
                names = list(checked.keys())
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length))
        except (SafetensorError, ValueError, RecursionError) as error:
            raise SetunError(
                str(path), "must be a whole safetensors file", error, "download it again"
            ) from error
        self._start = 8 + length
        self._entries = {name: header[name] for name in names}
        self.shapes = {name: tuple(entry["shape"]) for name, entry in self._entries.items()}

    def read(self, name: str) -> Tensor:
        """The tensor widened to float32, read-only; refused unless finite."""
        entry = self._entries[name]
        stored = _STORED.get(entry["dtype"])
        if stored is None:
            raise SetunError(
                f"tensor {name}", "must be float32, float16 or bfloat16", entry["dtype"]
            )
        begin, end = entry["data_offsets"]
        count = (end - begin) // stored.itemsize
        raw: NDArray[Any] = np.fromfile(self.path, stored, count, offset=self._start + begin)
        if raw.size != count:
            raise SetunError(str(self.path), "must not change while it is read")
        if entry["dtype"] == "BF16":
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        tensor: Tensor = raw.astype(np.float32, copy=False).reshape(entry["shape"])
        if not np.isfinite(tensor).all():
            place = [int(k) for k in np.argwhere(~np.isfinite(tensor))[0]]
            raise SetunError(
                f"tensor {name}", "must be finite", f"{tensor[tuple(place)]} at {place}"
            )
        tensor.flags.writeable = False
        return tensor
