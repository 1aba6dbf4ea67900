"""Checkpoints that say what they are told to: each token has one that follows it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from setun.firmware.models.checkpoint import parse_config

HIDDEN = 128
CONFIG = {
    "architectures": ["HGRNBitForCausalLM"],
    "model_type": "hgrn_bit",
    "hidden_size": HIDDEN,
    "num_hidden_layers": 1,
    "intermediate_size": HIDDEN,
    "num_heads": 1,
}


def following(tokens: Sequence[int]) -> dict[int, int]:
    """Each token's follower in a ring of different tokens."""
    return {before: after for before, after in zip(tokens, [*tokens[1:], tokens[0]], strict=True)}


def chain(
    follower: Mapping[int, int], vocabulary: int, **fields: Any
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """config.json and tensors of a model that says `follower[token]` after `token`.

    Its layers add nothing: the head finds the embedding of the token before.
    """
    rng = np.random.default_rng(0)
    config = {**CONFIG, "vocab_size": vocabulary, **fields}
    architecture, parsed = parse_config(config)
    shapes = architecture.expected_shapes(parsed)
    tensors = {
        name: (np.ones if "norm" in name else np.zeros)(shape, np.float32)
        for name, shape in shapes.items()
    }
    codes = rng.choice(np.array([-1, 1], np.float32), (vocabulary, HIDDEN))
    tensors["model.embeddings.weight"] = codes
    for before, after in follower.items():
        tensors["lm_head.weight"][after] += codes[before]
    return config, tensors


def write(
    folder: Path,
    config: Mapping[str, Any],
    tensors: dict[str, np.ndarray],
    tokenizer_json: str | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """The checkpoint's folder, as upstream saves it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors", metadata or {"format": "pt"})
    if tokenizer_json is not None:
        (folder / "tokenizer.json").write_text(tokenizer_json)
    return folder
