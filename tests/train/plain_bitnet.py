"""A BitNet transformer as one writes it first: autograd through every operation. What
`setun.train.bitnet` must equal."""

import torch
from torch import Tensor
from torch.nn import functional

from setun.train.bitnet import TrainedModel
from setun.train.layers import ABSMAX_FLOOR, ternary
from setun.train.plain import rms_norm


def bit_linear(x: Tensor, weight: Tensor) -> Tensor:
    """Codes by absmax and absmean, straight-through estimators as detached differences."""
    a = 127 / x.detach().abs().amax(-1, keepdim=True).clamp(min=ABSMAX_FLOOR)
    q = torch.round(x.detach() * a) / a
    u, m = ternary(weight.detach())
    return (x + (q - x).detach()) @ (weight + (u * m - weight).detach()).T


def turned(x: Tensor, theta: float) -> Tensor:
    """RoPE by halves as a product with complex numbers; x [B, T, heads, d]."""
    a, b = x.chunk(2, -1)
    half = a.shape[-1]
    frequencies = theta ** -(torch.arange(half, dtype=x.dtype) / half)
    angles = torch.outer(torch.arange(x.shape[1], dtype=x.dtype), frequencies)[:, None]
    z = torch.complex(a, b) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([z.real, z.imag], -1)


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention, head by head: q [B, T, heads, d], k and v [B, T, shared, d]."""
    group, count = q.shape[2] // k.shape[2], q.shape[1]
    later = torch.ones(count, count, dtype=torch.bool).triu(1)
    heads = []
    for j in range(q.shape[2]):
        scores = q[:, :, j] @ k[:, :, j // group].mT / q.shape[-1] ** 0.5
        shares = scores.masked_fill(later, -torch.inf).softmax(-1)
        heads.append(shares @ v[:, :, j // group])
    return torch.cat(heads, -1)


def logits(model: TrainedModel, ids: Tensor) -> Tensor:
    """Logits [B, T, V] of ids [B, T] with `model`'s parameters, without dropout."""
    c, eps = model.config, model.config.rms_norm_eps

    def normed(x, gain):
        return x if gain is None else rms_norm(x, gain.weight, eps)

    x = model.model.embed_tokens.weight[ids]
    for layer in model.model.layers:
        part = layer.self_attn
        n = normed(x, layer.input_layernorm)
        q, k, v = (
            bit_linear(n, w.weight).reshape(*ids.shape, -1, c.head_dim)
            for w in (part.q_proj, part.k_proj, part.v_proj)
        )
        q, k = normed(q, part.q_norm), normed(k, part.k_norm)
        o = attended(turned(q, c.rope_theta), turned(k, c.rope_theta), v)
        x = x + bit_linear(normed(o, part.attn_sub_norm), part.o_proj.weight)
        n, part = normed(x, layer.post_attention_layernorm), layer.mlp
        gate, up = bit_linear(n, part.gate_proj.weight), bit_linear(n, part.up_proj.weight)
        gate = gate.relu().square() if c.hidden_act == "relu2" else functional.silu(gate)
        x = x + bit_linear(normed(gate * up, part.ffn_sub_norm), part.down_proj.weight)
    head = model.model.embed_tokens if model.lm_head is None else model.lm_head
    return normed(x, model.model.norm) @ head.weight.T
