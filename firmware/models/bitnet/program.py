"""The program of a BitNet b1.58 transformer.

Two factors are folded: log2(e) / sqrt(d), which makes scores exponents of 2, into the scale of the
queries' projection or the gains of their norm; and the d of a head's mean square into gains and
epsilon.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.models.bitnet.config import BitnetConfig
from setun.firmware.models.bitnet.projections import EMBEDDING, HEAD, projection
from setun.firmware.numerics import rotary
from setun.firmware.numerics.arithmetic import MeanSquare
from setun.firmware.program import kernels
from setun.firmware.program.builder import FIVE_TRITS, Builder
from setun.firmware.program.kernels import Kernel

Tensor = NDArray[Any]


def write_program(b: Builder, config: BitnetConfig, tensors: Mapping[str, Tensor]) -> None:
    """Attention and feed-forward network of each layer, then the head."""
    d, eps = config.head_dim, config.rms_norm_eps
    queries, keys = config.query_size, config.key_size
    middle = config.intermediate_size
    to_powers_of_two = math.log2(math.e) / math.sqrt(d)
    x = b.vector("x", config.hidden_size)
    t = b.vector("t", max(queries, middle))
    k, v = b.vector("k", keys), b.vector("v", keys)
    glu = kernels.RELU2 if config.hidden_act == "relu2" else kernels.GLU

    def normed(name: str, src: Any, gain: str) -> None:
        b.quantise(name, src, tensors[f"{gain}.weight"])

    def sub_normed(name: str, size: int, gain: str) -> None:
        """Behind attention and in the middle: some models have no norm there."""
        if config.sub_norms:
            normed(name, t, gain)
        else:
            b.quantise(name, t, np.ones(size, np.float32), mean_square=MeanSquare.UNIT)

    def project(name: str, kernel: Kernel, *, factor: float = 1.0, **places: Any) -> None:
        codes, scale = projection(config, tensors, name)
        own: Any = scale * np.float32(factor) if config.group else float(scale[0]) * factor
        b.matvec(name, codes, own, kernel, **places)

    def head_normed(name: str, src: Any, size: int, factor: float) -> None:
        gains = tensors[f"{name}.weight"] * np.float32(math.sqrt(d) * factor)
        b.norm(name, src, size, gains)

    b.positions(config.max_position_embeddings, rotary.increments(config.rope_theta, d))
    b.scalars(d * eps, eps)
    b.embed(tensors[EMBEDDING], x, EMBEDDING.removesuffix(".weight"))
    for layer in range(config.num_hidden_layers):
        p = f"model.layers.{layer}"
        a, m = f"{p}.self_attn", f"{p}.mlp"
        kept_k, kept_v = b.cache(f"{a}.k", keys), b.cache(f"{a}.v", keys)
        b.layer(p)
        normed(f"{a}.qkv", x, f"{p}.input_layernorm")
        in_weights = 1.0 if config.qk_norm else to_powers_of_two
        project(f"{a}.q_proj", kernels.COPY, factor=in_weights, dst=t, keep=True)
        project(f"{a}.k_proj", kernels.COPY, dst=k, keep=True)
        project(f"{a}.v_proj", kernels.COPY, dst=v)
        if config.qk_norm:
            head_normed(f"{a}.q_norm", t, queries, to_powers_of_two)
            head_normed(f"{a}.k_norm", k, keys, 1.0)
        b.rotate(f"{a}.q", t, queries, d)
        b.rotate(f"{a}.k", k, keys, d)
        b.store(f"{a}.k", k, kept_k, d)
        b.store(f"{a}.v", v, kept_v, d, values=True)
        b.attend(a, t, queries, d, kept_k, kept_v)
        sub_normed(f"{a}.o_proj", queries, f"{a}.attn_sub_norm")
        project(f"{a}.o_proj", kernels.ADD, src=x, dst=x)
        normed(f"{m}.gate_up", x, f"{p}.post_attention_layernorm")
        project(f"{m}.gate_proj", kernels.COPY, dst=t, keep=True)
        project(f"{m}.up_proj", glu, src=t, dst=t)
        sub_normed(f"{m}.down_proj", middle, f"{m}.ffn_sub_norm")
        project(f"{m}.down_proj", kernels.ADD, src=x, dst=x)
    b.end()
    normed(HEAD, x, "model.norm")
    if config.ternary_head:
        project(HEAD, kernels.SAMPLE)
    else:
        head = EMBEDDING if config.tie_word_embeddings else f"{HEAD}.weight"
        b.head(HEAD, tensors[head], FIVE_TRITS)
    b.end()
