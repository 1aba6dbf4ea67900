"""Ternary projections of BitNet b1.58 transformers: which there are, and as they are computed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError
from setun.firmware.models.bitnet.config import BitnetConfig
from setun.firmware.numerics.ternary import Codes, ternarise

Tensor = NDArray[Any]
HEAD = "lm_head"
EMBEDDING = "model.embed_tokens.weight"


def projections(config: BitnetConfig) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of each ternary matrix, in the order of execution."""
    h, q, kv, i = (
        config.hidden_size,
        config.query_size,
        config.key_size,
        config.intermediate_size,
    )
    shapes = {}
    for layer in range(config.num_hidden_layers):
        p = f"model.layers.{layer}."
        for name, m in (("q", q), ("k", kv), ("v", kv)):
            shapes[f"{p}self_attn.{name}_proj"] = (m, h)
        shapes[p + "self_attn.o_proj"] = (h, q)
        for name in ("gate", "up"):
            shapes[f"{p}mlp.{name}_proj"] = (i, h)
        shapes[p + "mlp.down_proj"] = (h, i)
    if config.ternary_head:
        shapes[HEAD] = (config.vocab_size, h)
    return shapes


def projection(
    config: BitnetConfig, tensors: Mapping[str, Tensor], name: str
) -> tuple[Codes, NDArray[np.float32]]:
    """One of `projections` as it is computed.

    Returns
    -------
    codes
        int8 [out, in] of -1, 0, 1.
    scale
        What they are multiplied by, float32: [1], or [out, in / group].

    Raises
    ------
    SetunError
        A stored scale is 0 where it divides.
    """
    weight = tensors[f"{name}.weight"]
    if not config.packed:
        codes, own = ternarise(weight)
        return codes, np.array([own], np.float32)
    scale = tensors[f"{name}.weight_scale"]
    if not config.scale_divides:
        return weight, scale
    if not scale.all():
        raise SetunError(f"tensor {name}.weight_scale", "must not be 0, it divides", "0")
    return weight, np.reciprocal(scale)
