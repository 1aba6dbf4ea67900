"""The recurrence h[t] = f[t] · h[t−1] + x[t] over a whole batch, with its gradient by hand."""

import math
from typing import Any

import torch
from torch import Tensor


def sequential(f: Tensor, x: Tensor) -> Tensor:
    """h [B, T, D] of f and x [B, T, D] and h[−1] = 0, step by step: what `scan` must equal."""
    h = torch.zeros_like(x[:, 0])
    steps = []
    for t in range(x.shape[1]):
        h = f[:, t] * h + x[:, t]
        steps.append(h)
    return torch.stack(steps, dim=1)


def _chunked(f: Tensor, x: Tensor) -> Tensor:
    """The recurrence in about 2 · √T steps: all chunks of √T tokens at once, then from one to the
    next.

    Within a chunk h is local (it begins with zero) and so is the product of f; what a chunk hands
    on is then its last local h plus that product times what it was given (Blelloch, "Prefix sums
    and their applications", 1990, in two levels).
    """
    batch, length, width = x.shape
    inner = max(1, math.isqrt(length - 1) + 1)
    outer = -(-length // inner)
    if outer * inner != length:
        # Tokens behind the end: nothing reads them.
        missing = outer * inner - length
        f = torch.cat([f, f.new_zeros(batch, missing, width)], dim=1)
        x = torch.cat([x, x.new_zeros(batch, missing, width)], dim=1)
    f, x = f.reshape(batch, outer, inner, width), x.reshape(batch, outer, inner, width)
    h, product = torch.empty_like(x), torch.empty_like(f)
    h[:, :, 0], product[:, :, 0] = x[:, :, 0], f[:, :, 0]
    for k in range(1, inner):
        torch.addcmul(x[:, :, k], f[:, :, k], h[:, :, k - 1], out=h[:, :, k])
        torch.mul(product[:, :, k - 1], f[:, :, k], out=product[:, :, k])
    carry = torch.empty_like(h[:, :, 0])
    carry[:, 0] = 0
    for k in range(1, outer):
        torch.addcmul(h[:, k - 1, -1], product[:, k - 1, -1], carry[:, k - 1], out=carry[:, k])
    h.addcmul_(product, carry[:, :, None])
    return h.reshape(batch, outer * inner, width)[:, :length]


class _Scan(torch.autograd.Function):
    """With g[t] = dL/dh[t], all of it: g[t] = out[t] + f[t+1] · g[t+1], the same recurrence from
    the end; then dL/dx[t] = g[t] and dL/df[t] = g[t] · h[t−1]."""

    @staticmethod
    def forward(ctx: Any, f: Tensor, x: Tensor) -> Tensor:
        h = _chunked(f, x)
        ctx.save_for_backward(f, h)
        return h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        f, h = ctx.saved_tensors
        (out,) = grads
        later = torch.cat([f.new_zeros(f[:, :1].shape), f.flip(1)[:, :-1]], dim=1)
        g = _chunked(later, out.flip(1)).flip(1)
        df = torch.zeros_like(f)
        torch.mul(g[:, 1:], h[:, :-1], out=df[:, 1:])
        return df, g


def scan(f: Tensor, x: Tensor) -> Tensor:
    """h [B, T, D] of h[t] = f[t] · h[t−1] + x[t], h[−1] = 0; f and x [B, T, D], any float type.

    About 2 · √T kernels instead of T, and a backward pass of as many; differentiable once.
    """
    result: Tensor = _Scan.apply(f, x)
    return result
