"""Layers of the models as autograd functions: forward as upstream, backward by hand.

By hand because most of a step's time on a CPU is passes over activations, and because what the
straight-through estimator ignores is then visible: both roundings, and nothing else.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from setun.train.chip import Chip, Quantiser

BITLINEAR_EPS = 1e-6
"""Epsilon of the norm inside BitLinear, whatever rms_norm_eps says (upstream's default)."""
ABSMAX_FLOOR = 1e-5
ABSMEAN_FLOOR = 1e-5
RANGE = 127
"""Largest code."""


def round_half_away(x: Tensor) -> Tensor:
    """C's ``roundf`` of |x| < 128 to int8, x taken over: what upstream's activation kernel uses."""
    half = torch.full((), 0.5, dtype=x.dtype, device=x.device)
    return x.add_(torch.copysign(half, x)).to(torch.int8)  # which truncates


def round_half_even(x: Tensor) -> Tensor:
    """C's ``rint`` of |x| < 128 to int8, x taken over: what BitNet b1.58 is trained with."""
    return x.round_().to(torch.int8)


def ternary(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes of −1, 0, 1 and their scale m: absmean, ties to even (BitNet b1.58; `torch.round`)."""
    m = weight.abs().mean().clamp_(min=ABSMEAN_FLOOR)
    return (weight * (1 / m)).round_().clamp_(-1, 1), m


def codes_of(
    x: Tensor,
    r: Tensor,
    gain: Tensor,
    rounded: Callable[[Tensor], Tensor] = round_half_away,
) -> tuple[Tensor, Tensor]:
    """int8 codes q of x · r · gain, and their unit 1/a [N, 1]: x · r · gain ≈ q / a."""
    y = x * gain
    top = torch.maximum(y.amax(-1, keepdim=True), -y.amin(-1, keepdim=True))
    unit = (top * r).clamp_(min=ABSMAX_FLOOR).div_(RANGE)
    return rounded(y.mul_(r / unit)), unit


def code_sums(q: Tensor, u: Tensor, matmul: torch.dtype) -> Tensor:
    """q [N, n] · uᵀ [n, m] of −1, 0, 1. Exact but on CUDA, where bfloat16 rounds sums to 8 bits,
    and for codes that are no int8, which are summed in float32."""
    if q.dtype != torch.int8:
        return q @ u.to(q.dtype).T
    if q.device.type == "cpu" and matmul == torch.bfloat16:
        sums: Tensor = torch._int_mm(q, u.to(torch.int8).T)
        return sums
    return q.to(matmul) @ u.to(matmul).T


def inverse_rms(x: Tensor, eps: float) -> Tensor:
    """1/√(mean(x²) + eps) of the last dimension, kept."""
    return torch.einsum("ni,ni->n", x, x)[:, None].div(x.shape[-1]).add_(eps).rsqrt_()


class RmsNorm(torch.autograd.Function):
    """y = x / rms(x) · gain; x [N, n], gain [n]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        r = inverse_rms(x, eps)
        ctx.save_for_backward(x, r, gain)
        return x.mul(r).mul_(gain)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, r, gain = ctx.saved_tensors
        dyx = grads[0] * x
        dgain, inner = (r.T @ dyx)[0], dyx @ gain
        return _norm_backward(grads[0] * gain, x, r, inner), dgain, None


def _norm_backward(dz: Tensor, x: Tensor, r: Tensor, inner: Tensor) -> Tensor:
    """Gradient of x through z = x · r: dz [N, n], taken over, inner [N] = Σ dz · x."""
    return dz.mul_(r).addcmul_(x, inner[:, None] * r**3, value=-1 / x.shape[-1])


class Project(torch.autograd.Function):
    """BitLinears of one input: x [N, n] normed and in int8 codes, times weights [m, n] in ternary
    codes → [N, m] for each pair of a gain [n] and a weight.

    Straight through (upstream's LayerNormLinearQuantFn): dx goes by way of the ternary weights, dW
    by way of the codes of x, and neither sees a rounding or a scale's own gradient. With a
    `quantiser` codes and products are a chip's; it is given what x was before its norms.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, quantiser: "Quantiser | None", matmul: torch.dtype, *pairs: Tensor
    ) -> tuple[Tensor, ...]:
        r = inverse_rms(x, BITLINEAR_EPS)
        outs, kept = [], [x, r]
        for gain, weight in zip(pairs[::2], pairs[1::2], strict=True):
            u, m = ternary(weight)
            if quantiser is None:
                q, unit = codes_of(x, r, gain)
                outs.append(code_sums(q, u, matmul) * (unit * m))
            else:
                q, unit = quantiser.codes(gain, r)
                mul, sums = quantiser.chip.mul, code_sums(q, u, matmul).to(x.dtype)
                outs.append(mul(sums, mul(unit, m)))
            kept += [gain, q, unit, u.to(matmul), m]
        ctx.save_for_backward(*kept)
        return tuple(outs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, r, *kept = ctx.saved_tensors
        found: list[Tensor] = []
        dz, inner = None, 0
        for k, dout in enumerate(grads):
            gain, q, unit, u, m = kept[5 * k : 5 * k + 5]
            # Codes are exact in bfloat16: 8 significant bits hold −127 … 127.
            narrow = dout.to(u.dtype)
            dweight = narrow.T @ q.to(u.dtype).mul_(unit)
            dy = (narrow @ u).to(x.dtype)
            dyx = dy * x
            found += [(r.T @ dyx)[0].mul_(m), dweight.to(gain.dtype)]
            scaled = gain * m
            inner = inner + dyx @ scaled
            dz = dy.mul_(scaled) if dz is None else dz.addcmul_(dy, scaled)
        assert dz is not None
        return _norm_backward(dz, x, r, inner), None, None, *found


class NormedProject(torch.autograd.Function):
    """Projections of one input that share its norm and codes: x [N, n] over its root mean square
    times `gain` [n], in int8 codes, times weights [m, n] in ternary codes → [N, Σ m].

    Without a gain there is no norm. Straight through as `Project`. With a `chip` codes and products
    are its own.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gain: Tensor | None,
        eps: float,
        chip: "Chip | None",
        matmul: torch.dtype,
        *weights: Tensor,
    ) -> Tensor:
        r = x.new_ones(len(x), 1) if gain is None else inverse_rms(x, eps)
        gains = x.new_ones(x.shape[-1]) if gain is None else gain
        made = [ternary(weight) for weight in weights]
        u = torch.cat([codes for codes, _ in made])
        scales = torch.cat([m.expand(len(codes)) for codes, m in made])
        if chip is None:
            q, unit = codes_of(x, r, gains, round_half_even)
            out = (code_sums(q, u, matmul) * unit).mul_(scales)
        else:
            q, unit = chip.codes(x, gains, r)
            sums = code_sums(q, u, matmul).to(x.dtype)
            out = chip.mul(sums, chip.mul(unit, scales))
        ctx.save_for_backward(x, r, gains, q, unit, u.to(matmul), scales)
        ctx.normed, ctx.sizes = gain is not None, [len(weight) for weight in weights]
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, r, gain, q, unit, u, scales = ctx.saved_tensors
        # Codes are exact in bfloat16: 8 significant bits hold −127 … 127.
        dweights = grads[0].to(u.dtype).T @ q.to(u.dtype).mul_(unit)
        dy = ((grads[0] * scales).to(u.dtype) @ u).to(x.dtype)
        dx, dgain = dy, None
        if ctx.normed:
            dyx = dy * x
            dgain, inner = (r.T @ dyx)[0], dyx @ gain
            dx = _norm_backward(dy.mul_(gain), x, r, inner)
        return dx, dgain, None, None, None, *dweights.to(x.dtype).split(ctx.sizes)


class Gates(torch.autograd.Function):
    """MLGRU's inputs: f = lb + (1 − lb) · σ(f'), x = silu(i') · (1 − f); [B, T, D], lb [D]."""

    @staticmethod
    def forward(ctx: Any, i: Tensor, f: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
        sf, si = torch.sigmoid(f), torch.sigmoid(i)
        forget = torch.addcmul(bound, sf, 1 - bound)
        keep = 1 - forget
        ctx.save_for_backward(i, sf, si, keep, bound)
        return forget, i.mul(si).mul_(keep)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        i, sf, si, keep, bound = ctx.saved_tensors
        dforget, dx = grads
        silu = i * si
        di = (silu * (1 - si)).add_(si).mul_(keep).mul_(dx)
        dforget = torch.addcmul(dforget, dx, silu, value=-1)
        dbound = torch.addcmul(dforget, dforget, sf, value=-1).flatten(0, -2).sum(0)
        df = dforget.mul_(sf).mul_(1 - sf).mul_(1 - bound)
        return di, df, dbound


class Swiglu(torch.autograd.Function):
    """silu(x) · y."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        s = torch.sigmoid(x)
        ctx.save_for_backward(x, y, s)
        return x.mul(s).mul_(y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, y, s = ctx.saved_tensors
        silu = x * s
        dy = grads[0] * silu
        dx = silu.sub_(silu * s).add_(s).mul_(y).mul_(grads[0])
        return dx, dy


class Relu2(torch.autograd.Function):
    """relu(g)² · u of both halves of x [N, 2 n]: [N, n]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        g, u = x.chunk(2, -1)
        positive = g.relu()
        ctx.save_for_backward(positive, x)
        return (positive * positive).mul_(u)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        positive, x = ctx.saved_tensors
        dx = torch.empty_like(x)
        dg, du = dx.chunk(2, -1)
        torch.mul(positive, grads[0], out=du)
        torch.mul(du, x.chunk(2, -1)[1], out=dg)
        dg.mul_(2)
        du.mul_(positive)
        return dx


class Rotate(torch.autograd.Function):
    """RoPE by halves of the first heads of x [B, T, all heads, d]; the others stay.

    `cos` and `sin` [T, 1, d / 2]; the gradient is turned back.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, heads: int, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.heads = heads
        return _turned(x, heads, cos, sin)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(grads[0], ctx.heads, cos, -sin), None, None, None


def _turned(x: Tensor, heads: int, cos: Tensor, sin: Tensor) -> Tensor:
    out = x.clone()
    a, b = x[..., :heads, :].chunk(2, -1)
    first, second = out[..., :heads, :].chunk(2, -1)
    first.mul_(cos).addcmul_(b, sin, value=-1)
    second.mul_(cos).addcmul_(a, sin)
    return out
