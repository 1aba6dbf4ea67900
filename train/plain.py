"""The model as one writes it first: autograd through every operation, the recurrence a loop over
tokens. What `setun.train.hgrn_bit` must equal, and what `setun.train.speed` compares it with."""

import torch
from torch import Tensor
from torch.nn import functional

from setun.train.hgrn_bit import Glu, Mixer, TrainedModel
from setun.train.layers import ABSMAX_FLOOR, BITLINEAR_EPS, ternary
from setun.train.modules import BitLinear, Gain
from setun.train.scan import sequential


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """x over its root mean square, times the gain; any float type."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * gain


def bit_linear(x: Tensor, gain: Tensor, weight: Tensor) -> Tensor:
    """BitLinear, its straight-through estimator as detached differences; x [.., n] → [.., m]."""
    y = rms_norm(x, gain, BITLINEAR_EPS)
    a = 127 / y.detach().abs().amax(-1, keepdim=True).clamp(min=ABSMAX_FLOOR)
    v = y.detach() * a
    q = torch.trunc(v + torch.copysign(torch.full_like(v, 0.5), v)) / a
    u, m = ternary(weight.detach())
    return (y + (q - y).detach()) @ (weight + (u * m - weight).detach()).T


def logits(model: TrainedModel, ids: Tensor) -> Tensor:
    """Logits [B, T, V] of ids [B, T] with `model`'s parameters, without dropout."""
    eps = model.config.rms_norm_eps
    bounds = model.model.lower_bounds.softmax(0).cumsum(0)
    bounds = bounds - bounds[0]
    x = model.model.embeddings.weight[ids]
    for layer, bound in zip(model.model.layers, bounds, strict=True):
        x = x + _mixer(layer.attn, _normed(x, layer.attn_norm, eps), bound)
        x = x + _glu(layer.mlp, _normed(x, layer.mlp_norm, eps))
    return _project(_normed(x, model.model.norm, eps), model.lm_head)


def _normed(x: Tensor, gain: Gain, eps: float) -> Tensor:
    return rms_norm(x, gain.weight, eps)


def _project(x: Tensor, linear: BitLinear) -> Tensor:
    return bit_linear(x, linear.norm.weight, linear.weight)


def _mixer(mixer: Mixer, x: Tensor, bound: Tensor) -> Tensor:
    i, f = _project(x, mixer.i_proj), _project(x, mixer.f_proj)
    f = bound + (1 - bound) * torch.sigmoid(f)
    o = sequential(f, functional.silu(i) * (1 - f))
    gate = _normed(_project(x, mixer.g_proj), mixer.g_norm, mixer.eps)
    return _project(functional.silu(o) * gate, mixer.o_proj)


def _glu(glu: Glu, x: Tensor) -> Tensor:
    gate, up = _project(x, glu.gate_proj).chunk(2, -1)
    return _project(functional.silu(gate) * up, glu.down_proj)
