"""Reads a checkpoint: config.json, *.safetensors, tokenizer.json; or one GGUF file.

The folder is what Hugging Face's ``save_pretrained`` writes. Its config.json names the architecture
(`setun.firmware.models.architecture`), which says what else must be there.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from setun.firmware.errors import SetunError
from setun.firmware.file_kinds import refuse_other_kind
from setun.firmware.models import architecture as architectures
from setun.firmware.models.architecture import Architecture, Tensor
from setun.firmware.models.chat import Chat, from_files
from setun.firmware.models.fields import Fields
from setun.firmware.models.gguf import vocabulary
from setun.firmware.models.gguf.container import GgufFile
from setun.firmware.models.text_end import end_tokens
from setun.firmware.models.weight_files import LazyTensors, Weights, find_weights, unwrapped

JSON_LIMIT = 64 << 20
"""Largest config, index or tokenizer file read, in bytes."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A complete, checked model.

    `tensors` holds exactly the names of the architecture's `expected_shapes`, float32, read-only;
    one that is tied to another is the same array. A folder's are read when they are asked for, and
    refused then unless they are finite: keep those that are needed again.
    """

    architecture: Architecture
    config: Any
    """The architecture's own."""
    tensors: Mapping[str, Tensor]
    tokenizer_json: str | None = None
    """Text of tokenizer.json, unchecked; None when the folder has none."""
    end_tokens: tuple[int, ...] = ()
    """Ids that end a text, sorted."""
    chat: Chat | None = None
    """How it has conversations."""
    name: str = ""
    """The model's, for display: its folder's, or its file's."""
    format: str = ""
    """What the files of weights are called; "" for a model that was not read."""
    stored: Mapping[str, str] = field(default_factory=dict)
    """Type of each tensor in its file."""


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read and check a checkpoint: a folder, or a GGUF file, which is a whole one.

    Weights come from ``model.safetensors``, else from the shards that an index lists, else from
    all ``*.safetensors`` there; float32, float16 or bfloat16, widened to float32. A tensor may
    be stored under the name of one that it is tied to, and names may have what torch.compile and
    data parallelism put into them.

    Raises
    ------
    SetunError
        For everything wrong with the files, naming file, field or tensor.
    """
    try:
        if folder.is_file():
            return _load_gguf(folder)
        if not folder.is_dir():
            raise SetunError(str(folder), "a checkpoint is a folder", "no folder of that name")
        values = _read_json(folder / "config.json")
        architecture, config = parse_config(values)
        files = find_weights(folder, _read_json)
        tensors, stored = _checked(files, architecture, config)
        tokenizer = folder / "tokenizer.json"
        text = _read_text(tokenizer) if tokenizer.exists() else None
        generation, naming = (
            _read_json(folder / name) if (folder / name).exists() else {}
            for name in ("generation_config.json", "tokenizer_config.json")
        )
        separate = folder / "chat_template.jinja"
        chat = from_files(naming, _read_text(separate) if separate.exists() else None)
        ends = end_tokens(values, generation, naming, text, config.vocab_size, chat)
    except OSError as error:
        raise SetunError(str(error.filename or folder), "must be readable", error) from error
    return Checkpoint(
        architecture=architecture,
        config=config,
        tensors=tensors,
        tokenizer_json=text,
        end_tokens=ends,
        chat=chat,
        name=folder.resolve().name,
        format=files[0].format,
        stored=stored,
    )


def _load_gguf(path: Path) -> Checkpoint:
    """The checkpoint that a GGUF file is."""
    file = GgufFile(path)
    family = file.values.get("general.architecture")
    if file.values.get("split.count", 1) not in (0, 1):
        fix = "llama-gguf-split --merge FIRST.gguf WHOLE.gguf"
        raise SetunError(str(path), "must be a whole model", "a part of one", fix)
    found = architectures.in_gguf(str(family))
    if found is None:
        rule = f"must be one of {', '.join(architectures.gguf_names())}"
        raise SetunError(f"{path} general.architecture", rule, str(family)[:60])
    layout = found.files.gguf[str(family)]
    config = found.parse_config(Fields(layout.values(file), path.name))
    weights = layout.weights(file, config)
    tensors, stored = _checked([weights], found, config, path.name)
    text, chat = vocabulary.tokenizer_json(file.values), vocabulary.chat(file.values)
    named = {"eos_token_id": vocabulary.end_tokens(file.values)}
    return Checkpoint(
        architecture=found,
        config=config,
        tensors=tensors,
        tokenizer_json=text,
        end_tokens=end_tokens(named, {}, {}, text, config.vocab_size, chat),
        chat=chat,
        name=path.stem,
        format=weights.format,
        stored=stored,
    )


def parse_config(values: Mapping[str, Any]) -> tuple[Architecture, Any]:
    """The architecture that a config.json names, and its configuration."""
    fields, found = Fields(values), architectures.reading(values)
    if found is None:
        known = " or ".join(f'"{name}"' for name in architectures.model_types())
        fields.refuse("model_type", f"must be {known}", "other models are not supported")
    return found, found.parse_config(fields)


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise SetunError(str(path), "must be a file", "something else" if path.exists() else "none")
    if path.stat().st_size > JSON_LIMIT:
        raise SetunError(str(path), f"holds at most {JSON_LIMIT} bytes", path.stat().st_size)
    data = path.read_bytes()
    refuse_other_kind(str(path), "must be JSON", data)
    try:
        return data.decode("utf-8-sig")
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


def _checked(
    files: Sequence[Weights], architecture: Architecture, config: Any, source: str = "config.json"
) -> tuple[LazyTensors, dict[str, str]]:
    """The files' tensors, each that the architecture expects and no other, and their types.

    `source` is what asks for them, for display.
    """
    shapes, own_name = architecture.expected_shapes(config), architecture.files.own_name
    codes = architecture.files.codes(config)
    found: dict[str, Callable[[], Tensor]] = {}
    stored_as: dict[str, str] = {}
    same: dict[str, str] = {}
    for file in files:
        same |= {unwrapped(a, shapes): unwrapped(b, shapes) for a, b in file.same.items()}
        for stored in file.shapes:
            name = unwrapped(own_name(stored), shapes)
            if not name:
                continue
            if name in found:
                raise SetunError(
                    f"tensor {name}", "must be in one file only", f"it in {file.path.name}"
                )
            if name not in shapes:
                rule = "unknown to the model"
                fix = architecture.hint(name) or f"{source} and weights disagree"
                raise SetunError(f"tensor {name}", rule, f"it in {file.path.name}", fix)
            shape = file.shape_of(stored, name in codes)
            if shape != shapes[name]:
                raise SetunError(
                    f"tensor {name}",
                    f"{source} asks for shape {list(shapes[name])}",
                    f"{list(shape)}",
                )
            found[name] = file.reader(stored, name in codes)
            stored_as[name] = file.type_of(stored)
    tied = architecture.tied(config)
    for name, other in [*tied.items(), *((b, a) for a, b in tied.items()), *same.items()]:
        if name not in found and other in found and shapes.get(name) == shapes[other]:
            found[name] = found[other]
    for name, other in tied.items():
        if name not in found:
            continue
        if found[name] is not found[other] and not np.array_equal(found[name](), found[other]()):
            raise SetunError(f"tensor {name}", f"{source} says that it is {other}", "another")
        found[name] = found[other]
    if missing := [name for name in shapes if name not in found]:
        raise SetunError(
            f"tensor {missing[0]}",
            f"needed with shape {list(shapes[missing[0]])}",
            f"{len(missing)} of {len(shapes)} tensors missing",
        )
    return LazyTensors({name: found[name] for name in shapes}), stored_as
