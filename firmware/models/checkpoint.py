"""Reads a checkpoint: config.json, *.safetensors, tokenizer.json.

The folder is what Hugging Face's ``save_pretrained`` writes. Its config.json names the architecture
(`setun.firmware.models.architecture`), which says what else must be there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from setun.firmware.errors import SetunError
from setun.firmware.models import architecture as architectures
from setun.firmware.models.architecture import Architecture, Tensor
from setun.firmware.models.fields import Fields

JSON_LIMIT = 64 << 20
"""Largest config, index or tokenizer file read, in bytes."""

_STORED: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A complete, checked model.

    `tensors` holds exactly the names of the architecture's `expected_shapes`, float32, finite,
    read-only; one that is tied to another is the same array.
    """

    architecture: Architecture
    config: Any
    """The architecture's own."""
    tensors: Mapping[str, Tensor]
    tokenizer_json: str | None = None
    """Text of tokenizer.json, unchecked; None when the folder has none."""
    name: str = ""
    """The model's, for display: its folder's."""


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
        architecture, config = parse_config(_read_json(folder / "config.json"))
        tensors = _load_tensors(folder, architecture, config)
        tokenizer = folder / "tokenizer.json"
        text = _read_text(tokenizer) if tokenizer.exists() else None
    except OSError as error:
        raise SetunError(str(error.filename or folder), "must be readable", error) from error
    return Checkpoint(
        architecture=architecture,
        config=config,
        tensors=tensors,
        tokenizer_json=text,
        name=folder.resolve().name,
    )


def parse_config(values: Mapping[str, Any]) -> tuple[Architecture, Any]:
    """The architecture that a config.json names, and its configuration."""
    fields, model_type = Fields(values), values.get("model_type")
    if not isinstance(model_type, str) or model_type not in architectures.names():
        known = " or ".join(f'"{name}"' for name in architectures.names())
        fields.refuse("model_type", f"must be {known}", "other models are not supported")
    found = architectures.find(model_type)
    return found, found.parse_config(fields)


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


def _load_tensors(folder: Path, architecture: Architecture, config: Any) -> dict[str, Tensor]:
    shapes = architecture.expected_shapes(config)
    found: dict[str, Tensor] = {}
    for path, listed in _weight_files(folder).items():
        file = _WeightFile(path)
        if listed is not None and (absent := listed - set(file.shapes)):
            raise SetunError(f"tensor {min(absent)}", f"the index promises it in {path.name}")
        for name, shape in file.shapes.items():
            if name in found:
                raise SetunError(f"tensor {name}", "must be in one file only", f"it in {path.name}")
            if name not in shapes:
                rule = "unknown to the model"
                fix = architecture.hint(name) or "config.json and weights disagree"
                raise SetunError(f"tensor {name}", rule, f"it in {path.name}", fix)
            if shape != shapes[name]:
                raise SetunError(
                    f"tensor {name}",
                    f"config.json asks for shape {list(shapes[name])}",
                    f"{list(shape)}",
                )
            found[name] = file.read(name)
    for name, other in architecture.tied(config).items():
        if other not in found:
            continue
        if name in found and not np.array_equal(found[name], found[other]):
            raise SetunError(f"tensor {name}", f"config.json says that it is {other}", "another")
        found[name] = found[other]
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
