"""Configurations of transformers: what is read, what is told apart, what is refused by name."""

import json
from dataclasses import replace
from typing import Any

import pytest

from bench.folders import BITNET, VECTORS
from setun.firmware.errors import SetunError
from setun.firmware.models.architecture import find
from setun.firmware.models.bitnet.config import BitnetConfig
from setun.firmware.models.checkpoint import parse_config

QUANTISED = {"quant_method": "bitnet", "linear_class": "autobitlinear"}
MICROSOFT: dict[str, Any] = {
    "architectures": ["BitNetForCausalLM"],
    "model_type": "bitnet",
    "vocab_size": 128256,
    "hidden_size": 2560,
    "intermediate_size": 6912,
    "num_hidden_layers": 30,
    "num_attention_heads": 20,
    "num_key_value_heads": 5,
    "max_position_embeddings": 4096,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "quantization_config": QUANTISED | {"quantization_mode": "offline"},
}
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 2048,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "intermediate_size": 8192,
    "num_hidden_layers": 18,
    "vocab_size": 131072,
    "rope_theta": 1000042,
    "quantization_config": {"quant_method": "bitnet", "modules_to_not_convert": ["lm_head"]},
}


def config_of(fields: dict[str, Any]) -> BitnetConfig:
    architecture, config = parse_config(fields)
    assert architecture is find("bitnet")
    return config


def refusal(fields: dict[str, Any]) -> str:
    with pytest.raises(SetunError) as caught:
        parse_config(fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def weights(fields: dict[str, Any]) -> int:
    return find("bitnet").weights(config_of(fields))


def test_families_of_the_vectors() -> None:
    def read(name: str) -> BitnetConfig:
        return config_of(json.loads((BITNET / name / "config.json").read_text()))

    a, b, e = read("a_h64_l2_silu"), read("b_h128_l3_relu2"), read("e_h64_l2_1bitllm")
    assert (a.hidden_act, a.sub_norms, a.packed, a.tie_word_embeddings) == (
        "silu",
        True,
        False,
        False,
    )
    assert (a.rope_theta, a.head_dim, a.query_size, a.key_size) == (10000.0, 16, 64, 32)
    assert (b.hidden_act, b.rope_theta, b.tie_word_embeddings) == ("relu2", 500000.0, True)
    assert e.sub_norms and not e.packed and e.num_key_value_heads == 4
    p, divided = read("p_h256_l4_packed"), read("l_h128_l2_llama_bitlinear")
    assert p.packed and not p.scale_divides and p.sub_norms
    assert divided.packed and divided.scale_divides and not divided.sub_norms
    assert divided.head_dim == 32 and not divided.qk_norm


def test_counts_of_released_models() -> None:
    assert weights(MICROSOFT) == 2_084_044_800
    assert weights(LLAMA) == 1_132_462_080
    large = {"model_type": "llama", "architectures": ["BitnetForCausalLM"], "weight_bits": 1}
    large |= {"input_bits": 8, "hidden_size": 1536, "intermediate_size": 4096}
    large |= {"num_hidden_layers": 24, "num_attention_heads": 16}
    assert weights(large) == 679_477_248
    assert config_of(large).head_dim == 96 and config_of(large).num_key_value_heads == 16
    assert len(find("bitnet").expected_shapes(config_of(MICROSOFT))) == 332 + 7 * 30 + 1


@pytest.mark.parametrize("fields", [MICROSOFT, LLAMA], ids=["bitnet", "llama"])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"packed": False, "scale_divides": False},
        {"packed": True, "scale_divides": False, "group": 128, "int8_inputs": False},
        {"ternary_head": True, "tie_word_embeddings": False},
    ],
    ids=["as it is", "masters", "groups", "ternary head"],
)
def test_fields_are_the_inverse(fields: dict[str, Any], change: dict[str, Any]) -> None:
    config = replace(config_of(fields), **change)
    assert config_of(find("bitnet").config_fields(config)) == config


def test_norms_of_queries_and_keys_are_qwen3s() -> None:
    config = config_of({"model_type": "qwen3", "quantization_config": QUANTISED})
    assert config.qk_norm and not config.sub_norms and config.head_dim == 128
    assert config_of(find("bitnet").config_fields(config)) == config
    shapes = find("bitnet").expected_shapes(config)
    assert shapes["model.layers.31.self_attn.k_norm.weight"] == (128,)


def test_told_apart_from_the_matmul_free() -> None:
    fields = json.loads((VECTORS / "a_h64_l2" / "config.json").read_text())
    assert parse_config(fields)[0] is find("hgrn_bit")
    assert 'must be "bitnet" or "hgrn_bit" or "llama"' in refusal({"model_type": "mamba"})
    assert "model_type" in refusal({}) and "model_type" in refusal({"model_type": ["llama"]})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"quantization_config": None}, "quantization_config: must have quant_method"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config: must have"),
        ({"quantization_config": QUANTISED | {"linear_class": "x"}}, "linear_class: must be"),
        ({"quantization_config": QUANTISED | {"quantization_mode": "x"}}, "quantization_mode"),
        ({"quantization_config": QUANTISED | {"use_rms_norm": True}}, "use_rms_norm: must be"),
        ({"quantization_config": QUANTISED | {"group_size": 64}}, "group_size: must be 128"),
        ({"quantization_config": QUANTISED | {"input_bits": 4}}, "input_bits: must be 8"),
        ({"quantization_config": QUANTISED | {"hadamard": True}}, "hadamard: must be absent"),
        (
            {"quantization_config": QUANTISED | {"modules_to_not_convert": ["lm_head", {}]}},
            "modules_to_not_convert: must name lm_head alone",
        ),
        (
            {"quantization_config": QUANTISED | {"modules_to_not_convert": []}},
            "must name lm_head where tie_word_embeddings",
        ),
        (
            {"quantization_config": {"quant_method": "bitnet", "quantization_mode": "online"}},
            'quantization_mode: must be "offline" with bitlinear',
        ),
        ({"attention_bias": True}, "attention_bias: must be false"),
        ({"mlp_bias": True}, "mlp_bias: must be false"),
        ({"sliding_window": 4096}, "sliding_window: must be absent"),
        ({"use_sliding_window": True}, "use_sliding_window: must be absent"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "rope_scaling: must not scale"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "rope_scaling: must not scale"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters: must not scale"),
        ({"rope_parameters": {"rope_theta": "x"}}, "rope_parameters rope_theta"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor: must be 1"),
        ({"num_local_experts": 8}, "num_local_experts: must be absent"),
        ({"num_experts": 4}, "num_experts: must be absent"),
        ({"use_hadamard_transform": True}, "use_hadamard_transform: must be absent"),
        ({"hidden_act": "gelu"}, "hidden_act: must be"),
        ({"hidden_act": []}, "hidden_act: must be"),
        ({"num_key_value_heads": 3}, "num_key_value_heads: must divide 20 heads"),
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"num_attention_heads": 3, "num_key_value_heads": 3}, "hidden_size: must be a multiple"),
        ({"head_dim": 63}, "head_dim: must be even"),
        ({"rms_norm_eps": 2}, "rms_norm_eps"),
        ({"rope_theta": 0}, "rope_theta"),
        ({"vocab_size": "9"}, "vocab_size"),
        (
            {
                "intermediate_size": 6900,
                "tie_word_embeddings": False,
                "quantization_config": QUANTISED | {"group_size": 128},
            },
            "intermediate_size: must be a multiple of group_size 128",
        ),
    ],
)
def test_fields_refused_by_name(change: dict[str, Any], named: str) -> None:
    assert named in refusal(MICROSOFT | change)


def test_what_changes_nothing_is_taken() -> None:
    window = {"sliding_window": 4096, "use_sliding_window": False, "max_window_layers": 28}
    rope = {"rope_scaling": None, "partial_rotary_factor": 1.0, "rope_theta": 1e4}
    rope |= {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}
    same = MICROSOFT | window | rope | {"layer_types": ["full_attention"] * 30}
    assert config_of(same) == config_of(MICROSOFT)
    assert config_of(MICROSOFT).rope_theta == 500000.0
