"""BitNet b1.58 transformers in GGUF files: llama.cpp's keys and names, and what they stand for.

Four of llama.cpp's architectures hold such models: `bitnet` (1bitLLM's, SiLU), `bitnet-b1.58` of
Microsoft's fork (2B4T, relu²), `llama` and `qwen3`, of which the ternary ones are read.
"""

from typing import Any

import numpy as np

from setun.firmware.errors import SetunError
from setun.firmware.models.bitnet.config import GROUP, BitnetConfig
from setun.firmware.models.gguf.container import GgufFile
from setun.firmware.models.gguf.weights import (
    GgufWeights,
    Named,
    floats,
    is_ternary,
    neighbours_to_halves,
    ternary,
)
from setun.firmware.models.weight_files import Tensor

KINDS = {
    "bitnet": ("bitnet", "silu"),
    "bitnet-b1.58": ("bitnet", "relu2"),
    "bitnet-25": ("bitnet", "relu2"),
    "llama": ("llama", "silu"),
    "qwen3": ("qwen3", "silu"),
}
"""`model_type` and activation, by `general.architecture`."""

_NORMS = {
    "attn_norm": "input_layernorm",
    "attn_sub_norm": "self_attn.attn_sub_norm",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_sub_norm": "mlp.ffn_sub_norm",
}
_MATRICES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_FIELDS = {
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
    "context_length": "max_position_embeddings",
    "rope.freq_base": "rope_theta",
    "expert_count": "num_experts",
}
_NEEDED = {"embedding_length", "feed_forward_length", "block_count", "attention.head_count"}
_EMBEDDING, _HEAD = "token_embd.weight", "output.weight"


def values(file: GgufFile) -> dict[str, Any]:
    """What a config.json would say of the file's model.

    Raises
    ------
    SetunError
        Something that the forward pass needs is missing, or is not done.
    """
    kind, activation = KINDS[file.values["general.architecture"]]
    own = _own(file)
    for key in sorted(_NEEDED - own.keys()):
        raise SetunError(str(file.path), f"must say {key}", "nothing")
    found: dict[str, Any] = {"model_type": kind, "hidden_act": activation}
    found |= {field: own[key] for key, field in _FIELDS.items() if key in own}
    if _EMBEDDING in file.tensors:
        found["vocab_size"] = own.get("vocab_size", file.tensors[_EMBEDDING].shape[0])
    found["tie_word_embeddings"] = _HEAD not in file.tensors
    heads, hidden = found["num_attention_heads"], found["hidden_size"]
    if type(heads) is int and type(hidden) is int and heads > 0:
        found.setdefault("head_dim", hidden // heads)
    for key in ("rope.dimension_count", "attention.value_length"):
        if own.get(key, found.get("head_dim")) != found.get("head_dim"):
            rule = f"{key} must be the width of a head, {found.get('head_dim')}"
            raise SetunError(str(file.path), rule, own[key])
    if own.get("rope.scaling.type", "none") != "none" and own.get("rope.scaling.factor") != 1:
        found["rope_scaling"] = {"rope_type": str(own["rope.scaling.type"])}
    declared = {key: value for key, value in file.values.items() if "hadamard" in key.lower()}
    found |= {key: True for key, value in declared.items() if np.any(np.asarray(value) != 0)}
    return found | {"quantization_config": _quantisation(file, kind)}


def weights(file: GgufFile, config: BitnetConfig) -> GgufWeights:
    """The file's tensors under transformers' names, projections as codes and scales.

    Raises
    ------
    SetunError
        A tensor is no part of such a model.
    """
    named: dict[str, Named] = {}
    turns = file.values["general.architecture"] == "llama"
    for name in file.tensors:
        part = name.removesuffix(".weight").split(".")
        if name.endswith(".scale") and f"{name.removesuffix('.scale')}.weight" in file.tensors:
            continue
        if name == _EMBEDDING:
            named["model.embed_tokens.weight"] = floats(file, name)
        elif name == "output_norm.weight":
            named["model.norm.weight"] = floats(file, name)
        elif name == _HEAD:
            named |= (
                _matrix(file, name, "lm_head", config)
                if config.ternary_head
                else {"lm_head.weight": floats(file, name)}
            )
        elif len(part) == 3 and part[0] == "blk" and name.endswith(".weight"):
            prefix = f"model.layers.{part[1]}."
            if part[2] in _NORMS:
                named[f"{prefix}{_NORMS[part[2]]}.weight"] = floats(file, name)
            elif part[2] in _MATRICES:
                heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
                turned = heads.get(part[2], 0) if turns else 0
                named |= _matrix(file, name, prefix + _MATRICES[part[2]], config, turned)
            else:
                raise _unknown(file, name)
        else:
            raise _unknown(file, name)
    if config.ternary_head and config.tie_word_embeddings and _EMBEDDING in file.tensors:
        named |= _matrix(file, _EMBEDDING, "lm_head", config)
    return GgufWeights(file, named)


def _matrix(
    file: GgufFile, name: str, own: str, config: BitnetConfig, heads: int = 0
) -> dict[str, Named]:
    """Codes and scales of a projection; `heads` whose rows are for neighbouring pairs."""
    shape = file.tensors[name].shape
    if len(shape) != 2 or (config.group and shape[1] % config.group):
        raise SetunError(f"tensor {name}", "must be a matrix of whole groups", list(shape))
    if heads and shape[0] % (2 * heads):
        raise SetunError(f"tensor {name}", f"must have rows of {heads} even heads", list(shape))
    turned = neighbours_to_halves(heads) if heads else _as_they_are
    codes, scales = ternary(file, name, config.group, turned)
    return {f"{own}.weight": codes, f"{own}.weight_scale": scales}


def _as_they_are(rows: Tensor) -> Tensor:
    return rows


def _own(file: GgufFile) -> dict[str, Any]:
    """The architecture's keys without its name."""
    prefix = f"{file.values['general.architecture']}."
    return {
        key.removeprefix(prefix): value.tolist() if isinstance(value, np.ndarray) else value
        for key, value in file.values.items()
        if key.startswith(prefix)
    }


def _quantisation(file: GgufFile, kind: str) -> dict[str, Any]:
    """quantization_config: packed codes whose scales multiply."""
    matrices = [
        name
        for name in file.tensors
        if name.startswith("blk.") and name.removesuffix(".weight").split(".")[-1] in _MATRICES
    ]
    plain = [name for name in matrices if not is_ternary(file, name)]
    if plain and kind != "bitnet":
        found = file.tensors[plain[0]].type.name
        rule = f"must be ternary in a model of {file.values['general.architecture']}"
        raise SetunError(f"tensor {plain[0]}", rule, found, "other models are not read")
    head = _HEAD if _HEAD in file.tensors else _EMBEDDING
    grouped = any(entry.type.grouped for entry in file.tensors.values())
    found_head = [] if is_ternary(file, head) else ["lm_head"]
    made: dict[str, Any] = {
        "quant_method": "bitnet",
        "linear_class": "autobitlinear",
        "quantization_mode": "offline",
        "modules_to_not_convert": found_head,
    }
    # Models with scales of groups were made ternary in their weights alone.
    return made | ({"group_size": GROUP, "input_bits": None} if grouped else {})


def _unknown(file: GgufFile, name: str) -> SetunError:
    rule = f"unknown to {file.values['general.architecture']}"
    why = {"bias": "biases", "rope_f": "scaled positions", "exps": "experts", "inp": "experts"}
    fix = next((f"{what} are not done" for part, what in why.items() if part in name), "")
    return SetunError(f"tensor {name[:60]}", rule, f"it in {file.path.name}", fix)
