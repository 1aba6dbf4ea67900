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


def _chunked(f: Tensor, x: Tensor, backwards: bool = False) -> Tensor:
    """The recurrence in about 2 · √T steps: all chunks of √T tokens at once, then from one to the
    next.

    Within a chunk h is local (it begins with zero) and so is the product of f; what a chunk hands
    on is then its last local h plus that product times what it was given (Blelloch, "Prefix sums
    and their applications", 1990, in two levels). `backwards` is h[t] = f[t+1] · h[t+1] + x[t].
    """
    batch, length, width = x.shape
    inner = max(1, math.isqrt(length - 1) + 1)
    outer = -(-length // inner)
    if outer * inner != length:
        # Tokens behind the end: zeros, so that nothing comes from there.
        missing = x.new_zeros(batch, outer * inner - length, width)
        f, x = torch.cat([f, missing], dim=1), torch.cat([x, missing], dim=1)
    shape = batch, outer, inner, width
    f, x = f.reshape(shape), x.reshape(shape)
    h, product = torch.empty_like(x), torch.empty_like(f)
    carry = torch.zeros_like(h[:, :, 0])
    if backwards:
        h[:, :, -1], product[:, :, -1] = x[:, :, -1], 0
        product[:, :-1, -1] = f[:, 1:, 0]
        for k in reversed(range(inner - 1)):
            torch.addcmul(x[:, :, k], f[:, :, k + 1], h[:, :, k + 1], out=h[:, :, k])
            torch.mul(product[:, :, k + 1], f[:, :, k + 1], out=product[:, :, k])
        for k in reversed(range(outer - 1)):
            torch.addcmul(h[:, k + 1, 0], product[:, k + 1, 0], carry[:, k + 1], out=carry[:, k])
    else:
        h[:, :, 0], product[:, :, 0] = x[:, :, 0], f[:, :, 0]
        for k in range(1, inner):
            torch.addcmul(x[:, :, k], f[:, :, k], h[:, :, k - 1], out=h[:, :, k])
            torch.mul(product[:, :, k - 1], f[:, :, k], out=product[:, :, k])
        for k in range(1, outer):
            torch.addcmul(h[:, k - 1, -1], product[:, k - 1, -1], carry[:, k - 1], out=carry[:, k])
    h.addcmul_(product, carry[:, :, None])
    return h.reshape(batch, outer * inner, width)[:, :length]


class _Scan(torch.autograd.Function):
    """Gradients with g[t] = dL/dh[t] = out[t] + f[t+1] · g[t+1], the same recurrence from
    the end; then dL/dx[t] = g[t] and dL/df[t] = g[t] · h[t−1]."""

    @staticmethod
    def forward(ctx: Any, f: Tensor, x: Tensor) -> Tensor:
        h = _chunked(f, x)
        ctx.save_for_backward(f, h)
        return h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        f, h = ctx.saved_tensors
        g = _chunked(f, grads[0], backwards=True)
        df = torch.empty_like(f)
        df[:, 0] = 0
        torch.mul(g[:, 1:], h[:, :-1], out=df[:, 1:])
        return df, g


def scan(f: Tensor, x: Tensor) -> Tensor:
    """h [B, T, D] of h[t] = f[t] · h[t−1] + x[t], h[−1] = 0; f and x [B, T, D], any float type.

    About 2 · √T kernels instead of T, and a backward pass of as many; differentiable once.
    """
    result: Tensor = _Scan.apply(f, x)
    return result
