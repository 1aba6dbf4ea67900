"""Configuration of BitNet b1.58 transformers: one shape with switches, read of config.json.

Names and defaults are those of transformers' `BitNetConfig`, `LlamaConfig` and `Qwen3Config`,
which all may describe such a model; what tells a ternary one is its `quantization_config`, or
1bitLLM's `weight_bits`. What would change the forward pass and is not done here is refused by name.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from setun.firmware.models.fields import Fields

GROUP = 128
"""Inputs that share a scale, where a matrix has more than one."""

MODEL_TYPES = ("bitnet", "llama", "qwen3")
"""Values of `model_type`: with sub-norms, without, and with norms of queries and keys."""

_FLOAT_MODULES = ("lm_head", "model.embed_tokens")

_DEFAULTS: dict[str, dict[str, Any]] = {
    "bitnet": {
        "vocab_size": 128256,
        "hidden_size": 2560,
        "intermediate_size": 6912,
        "num_hidden_layers": 30,
        "num_attention_heads": 20,
        "num_key_value_heads": 5,
        "hidden_act": "relu2",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
    },
    "llama": {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": None,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
    },
    "qwen3": {
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": 128,
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
    },
}


@dataclass(frozen=True, kw_only=True)
class BitnetConfig:
    """Shape and switches of a BitNet b1.58 transformer; field names are transformers'."""

    vocab_size: int
    """Rows of the embedding and of the head."""
    hidden_size: int
    """Width of the residual stream."""
    intermediate_size: int
    """Width of gate and up."""
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    """Query head j reads keys and values of head ``j // (heads / key_value_heads)``."""
    head_dim: int
    """Width of a head, even; times the heads it need not be `hidden_size`."""
    max_position_embeddings: int
    """Positions that the model was made for."""
    rms_norm_eps: float
    """Epsilon of every norm."""
    rope_theta: float
    hidden_act: str = "relu2"
    """What the gate goes through: "relu2", the square of the positive part, or "silu"."""
    sub_norms: bool = True
    """Norms between attention and its output projection, and before the down projection."""
    qk_norm: bool = False
    """Norms of each head's query and key before RoPE."""
    tie_word_embeddings: bool = False
    """The head is the embedding."""
    ternary_head: bool = False
    """The head is a ternary projection; else float, and neither it nor its input is quantised."""
    packed: bool = False
    """Projections are stored as ternary codes with scales; else as weights for absmean."""
    scale_divides: bool = False
    """A stored scale is the reciprocal of what codes are multiplied by."""
    group: int = 0
    """Inputs that share a scale; 0 for one scale a matrix."""
    int8_inputs: bool = True
    """Projections see int8 codes, absmax per token; else floats: the weights alone are ternary."""

    @property
    def query_size(self) -> int:
        """Width of all query heads."""
        return self.num_attention_heads * self.head_dim

    @property
    def key_size(self) -> int:
        """Width of all key heads, and of all value heads."""
        return self.num_key_value_heads * self.head_dim


def parse(fields: Fields) -> BitnetConfig:
    """The configuration that a config.json describes.

    Raises
    ------
    SetunError
        A field is out of range, the model is not ternary, or needs what is not done.
    """
    kind = fields.values.get("model_type", "bitnet")
    fields = Fields(_DEFAULTS[kind] | dict(fields.values), fields.source)
    quantisation = _quantisation(fields, kind)
    _refuse_what_is_not_done(fields)
    heads = fields.integer("num_attention_heads", 1, 1 << 12)
    hidden = fields.integer("hidden_size", 1, 1 << 16)
    key_heads = heads
    if fields.values.get("num_key_value_heads") is not None:
        key_heads = fields.integer("num_key_value_heads", 1, heads)
    if heads % key_heads:
        fields.refuse("num_key_value_heads", f"must divide {heads} heads")
    if fields.values.get("head_dim") is None and hidden % heads:
        fields.refuse("hidden_size", f"must be a multiple of {heads} heads without head_dim")
    width = hidden // heads
    if fields.values.get("head_dim") is not None:
        width = fields.integer("head_dim", 1, 1 << 12)
    if width % 2:
        fields.refuse("head_dim", "must be even for RoPE", f"{width} wide")
    if fields.values["hidden_act"] not in ("relu2", "silu"):
        fields.refuse("hidden_act", 'must be "relu2" or "silu"')
    if fields.real("rms_norm_eps", 1e-5) >= 1:
        fields.refuse("rms_norm_eps", "must be above 0 and below 1")
    config = BitnetConfig(
        vocab_size=fields.integer("vocab_size", 1, 1 << 24),
        hidden_size=hidden,
        intermediate_size=fields.integer("intermediate_size", 1, 1 << 20),
        num_hidden_layers=fields.integer("num_hidden_layers", 1, 1 << 10),
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        head_dim=width,
        max_position_embeddings=fields.integer("max_position_embeddings", 1, 1 << 24),
        rms_norm_eps=fields.real("rms_norm_eps", 1e-5),
        rope_theta=_theta(fields),
        hidden_act=fields.values["hidden_act"],
        qk_norm=kind == "qwen3",
        tie_word_embeddings=fields.boolean("tie_word_embeddings", False),
        **quantisation,
    )
    if config.ternary_head and config.tie_word_embeddings and not config.group:
        rule = "must name lm_head where tie_word_embeddings is true"
        fields.refuse("quantization_config", rule, "a tied head is float")
    for name in ("hidden_size", "intermediate_size"):
        if config.group and getattr(config, name) % config.group:
            fields.refuse(name, f"must be a multiple of group_size {config.group}")
    if config.group and config.query_size % config.group:
        fields.refuse("head_dim", f"times the heads must be a multiple of {config.group}")
    return config


def to_fields(config: BitnetConfig) -> dict[str, Any]:
    """config.json of a model, as transformers writes it; `parse` reads it.

    Two entries of `quantization_config` are Setun's own: `group_size` and `input_bits`.
    """
    kind = "bitnet" if config.sub_norms else "qwen3" if config.qk_norm else "llama"
    quantisation: dict[str, Any] = {
        "quant_method": "bitnet",
        "linear_class": "bitlinear" if config.scale_divides else "autobitlinear",
        "quantization_mode": "offline" if config.packed else "online",
        "modules_to_not_convert": [] if config.ternary_head else None,
    }
    if config.group:
        quantisation["group_size"] = config.group
    if not config.int8_inputs:
        quantisation["input_bits"] = None
    name = {"bitnet": "BitNet", "llama": "Llama", "qwen3": "Qwen3"}[kind]
    return {
        "architectures": [f"{name}ForCausalLM"],
        "model_type": kind,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.max_position_embeddings,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "hidden_act": config.hidden_act,
        "tie_word_embeddings": config.tie_word_embeddings,
        "quantization_config": quantisation,
    }


def _theta(fields: Fields) -> float:
    """RoPE's base: at the top, or in transformers 5's `rope_parameters`."""
    rope = fields.values.get("rope_parameters")
    if rope is None:
        return fields.real("rope_theta", 1e4, 1e12)
    inner = Fields(rope, f"{fields.source} rope_parameters")
    return inner.real("rope_theta", fields.real("rope_theta", 1e4, 1e12), 1e12)


def _quantisation(fields: Fields, kind: str) -> dict[str, Any]:
    """Switches that say what is ternary and how that is stored."""
    values = fields.values
    found = values.get("quantization_config")
    if found is None:
        if values.get("weight_bits") != 1 or values.get("input_bits") != 8:
            rule = (
                'must have quant_method "bitnet", or weight_bits 1 and input_bits 8 must be there'
            )
            fields.refuse("quantization_config", rule, "other models are not ternary")
        named = json.dumps(values.get("architectures"))
        return {"sub_norms": kind == "bitnet" or '"BitnetForCausalLM"' in named}
    inner = _quantiser(fields, found)
    divides = inner.values.get("linear_class") in (None, "bitlinear")
    mode = inner.values.get("quantization_mode") or "offline"
    if divides and mode == "online":
        inner.refuse("quantization_mode", 'must be "offline" with bitlinear')
    group = inner.values.get("group_size", 0)
    if group not in (0, GROUP):
        inner.refuse("group_size", f"must be {GROUP}")
    if inner.values.get("input_bits", 8) not in (8, None):
        inner.refuse("input_bits", "must be 8, or null for float inputs")
    return {
        "sub_norms": kind == "bitnet",
        "ternary_head": _converts_head(inner),
        "packed": mode == "offline",
        "scale_divides": divides,
        "group": group,
        "int8_inputs": inner.values.get("input_bits", 8) == 8,
    }


def _quantiser(fields: Fields, found: Any) -> Fields:
    """The fields of `quantization_config`, its method and classes checked."""
    if not isinstance(found, dict) or found.get("quant_method") != "bitnet":
        fields.refuse("quantization_config", 'must have quant_method "bitnet"')
    inner = Fields(found, f"{fields.source} quantization_config")
    _refuse_hadamard(inner)
    for name, known in (
        ("linear_class", (None, "bitlinear", "autobitlinear")),
        ("quantization_mode", (None, "offline", "online")),
    ):
        if found.get(name) not in known:
            inner.refuse(name, "must be " + " or ".join(f'"{each}"' for each in known[1:]))
    if inner.boolean("use_rms_norm", False):
        inner.refuse("use_rms_norm", "must be false", "norms inside projections are not read")
    return inner


def _converts_head(inner: Fields) -> bool:
    """Whether the head is ternary: a list that leaves it out says so."""
    kept = inner.values.get("modules_to_not_convert")
    if kept is None:
        return False
    if not isinstance(kept, list) or any(each not in _FLOAT_MODULES for each in kept):
        inner.refuse("modules_to_not_convert", "must name lm_head alone")
    return "lm_head" not in kept


def _refuse_what_is_not_done(fields: Fields) -> None:
    values = fields.values
    for name in ("attention_bias", "mlp_bias", "qkv_bias", "use_bias", "bias"):
        if values.get(name):
            fields.refuse(name, "must be false", "biases are not done")
    if values.get("use_sliding_window", values.get("sliding_window") is not None):
        name = "use_sliding_window" if "use_sliding_window" in values else "sliding_window"
        fields.refuse(name, "must be absent", "sliding windows are not done")
    kinds = values.get("layer_types") or []
    if not isinstance(kinds, list) or set(map(str, kinds)) - {"full_attention"}:
        fields.refuse("layer_types", "must all be full_attention", "sliding windows are not done")
    for name in ("num_experts", "num_local_experts", "n_routed_experts", "expert_count"):
        if values.get(name):
            fields.refuse(name, "must be absent", "experts are not done")
    for name in ("rope_scaling", "rope_parameters"):
        rope = values.get(name)
        if rope is None:
            continue
        if not isinstance(rope, Mapping) or _scaled(rope):
            fields.refuse(name, "must not scale RoPE", "scaled positions are not done")
    if values.get("partial_rotary_factor") not in (None, 1):
        fields.refuse("partial_rotary_factor", "must be 1", "RoPE turns whole heads")
    _refuse_hadamard(fields)


def _scaled(rope: Mapping[str, Any]) -> bool:
    kind = rope.get("rope_type", rope.get("type", "default"))
    return kind != "default" or not set(rope) <= {"rope_type", "type", "rope_theta"}


def _refuse_hadamard(fields: Fields) -> None:
    for name, value in fields.values.items():
        if "hadamard" in name.lower() and value:
            fields.refuse(name, "must be absent", "Hadamard transforms are not done")
