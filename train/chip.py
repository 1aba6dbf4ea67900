"""What a chip's numerics make of a forward pass, in float32 tensors: L-Mul, FP8 codes, the state's
rounding.

Numerics-aware training computes with these; gradients go straight through to what float32 has. Each
is the chip's own operation, on numbers that are not rounded to its vector format and with exact
statistics of norms and sums of FP8 codes: what those add to a loss is less than an evaluation can
tell. The golden model, which has them all, scores the result.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from setun.firmware.numerics.lmul import fraction_bits, offsets
from setun.firmware.numerics.options import Numerics
from setun.train.layers import RANGE, round_half_away
from setun.train.scan import scan

MANTISSA, ONE = 23, 127 << 23  # of float32's bits


class Chip:
    """Operations of one set of numerics; tensors are float32, N = B · T tokens.

    Parameters
    ----------
    numerics
        Of the chip.
    """

    def __init__(self, numerics: Numerics) -> None:
        self.numerics = numerics
        mantissa, segments = numerics.vector.mantissa, numerics.segments
        self.kept = min(segments, mantissa)  # bits of a mantissa that choose an offset
        chosen = offsets(mantissa, segments) << MANTISSA - fraction_bits(mantissa, segments)
        self.offsets = torch.from_numpy((chosen - ONE).ravel()).to(torch.int32)
        self.dropped = MANTISSA - numerics.state.mantissa  # bits of the state

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        """a · b, or L-Mul: one addition of their bits (`setun.firmware.numerics.lmul`); broadcast.

        L-Mul's products below 2⁻⁷⁴ are zero, so that no exponent wraps; magnitudes stay below 2⁶³.
        """
        exact = a * b
        if not self.numerics.lmul:
            return exact
        p, q = a.view(torch.int32), b.view(torch.int32)
        offset: Tensor = self.offsets.to(a.device)
        if self.kept:
            top, low = (1 << self.kept) - 1, MANTISSA - self.kept
            offset = offset[((p >> low & top) << self.kept) + (q >> low & top)]
        bits = p + (q + offset)  # signs add up, modulo 2
        return torch.where(exact.square_() > 0, bits.view(torch.float32), 0.0)

    def codes(self, x: Tensor, gain: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """Codes q of x [N, n] times r [N, 1] and `gain` [n], and their unit: `layers.codes_of`."""
        return Quantiser(self, x).codes(gain, r)

    def squared(self, x: Tensor, y: Tensor) -> Tensor:
        """relu(x)² · y."""
        positive = x.relu()
        return self.mul(self.mul(x, positive), y)

    def attended(self, mean: Tensor, scores: Tensor) -> Tensor:
        """What a product with the reciprocal of the weights' sum makes of attention's means.

        Parameters
        ----------
        mean
            [.., T, d], exact.
        scores
            [.., T, S], -inf where nothing is seen.
        """
        exponents = scores * math.log2(math.e)
        total = (exponents - exponents.amax(-1, keepdim=True).floor()).exp2_().sum(-1, keepdim=True)
        return self.mul(mean * total, total.reciprocal())

    def turned(self, x: Tensor, heads: int, cos: Tensor, sin: Tensor) -> Tensor:
        """`layers.Rotate` of x [B, T, all heads, d], made of L-Mul's products."""
        a, b = x[..., :heads, :].chunk(2, -1)
        mul = self.mul
        first, second = mul(a, cos) - mul(b, sin), mul(b, cos) + mul(a, sin)
        return torch.cat([torch.cat([first, second], -1), x[..., heads:, :]], -2)

    def gated(self, x: Tensor, y: Tensor) -> Tensor:
        """silu(x) · y."""
        return self.mul(self.mul(x, x.sigmoid()), y)

    def gates(self, i: Tensor, f: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
        """MLGRU's forget gate and new input, as `layers.Gates` has them."""
        u = self.mul(1 - bound, (-f).sigmoid())
        return 1 - u, self.mul(u, self.mul(i, i.sigmoid()))

    def rounded(self, forget: Tensor, new: Tensor) -> Tensor:
        """New input [B, T, D] such that the recurrence with `forget`, in float32, has the state of
        the chip: what its product f · h and its rounding make of h is added.

        Both are taken at the state without them, which they change by less than a percent. A narrow
        state rounded to nearest errs by a sixth more on the chip, where it comes to stand still.
        """
        numerics = self.numerics
        rounds = numerics.stochastic or numerics.state.mantissa < numerics.vector.mantissa
        if not (numerics.lmul or rounds):
            return new
        before = scan(forget, new).roll(1, 1)
        before[:, 0] = 0
        exact = forget * before
        kept = exact
        if numerics.lmul:  # from the smaller of f and 1 − f, see `Arithmetic.remember`
            u = 1 - forget
            kept = torch.where(u <= 0.5, before - self.mul(u, before), self.mul(forget, before))
        total = kept + new
        if rounds:
            bits, unit = total.view(torch.int32), 1 << self.dropped
            noise: Any = unit >> 1
            if numerics.stochastic:
                noise = torch.randint_like(bits, unit)
            total = ((bits + noise) & -unit).view(torch.float32)
        return total - exact


@dataclass(frozen=True)
class Quantiser:
    """What a chip's quantiser is given for a BitLinear: its input before the norms around it.

    The input is `value` [N, n] times `gain` [n] times `unit` [N, 1]; None stands for ones.
    """

    chip: Chip
    value: Tensor
    gain: Tensor | None = None
    unit: Tensor | None = None

    def codes(self, gain: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """Codes q of the input times r [N, 1] and `gain`, and their unit: `layers.codes_of`.

        int8, or for fp8 (1,5,2) of the input over the power of two in its largest magnitude.
        """
        own = gain if self.gain is None else self.gain * gain
        y = self.chip.mul(self.value, own)
        top = torch.maximum(y.amax(-1, keepdim=True), -y.amin(-1, keepdim=True))
        r = r if self.unit is None else self.unit * r
        if not self.chip.numerics.fp8:
            unit = self.chip.mul(top, r).div_(RANGE)
            return round_half_away(y.mul_(RANGE / (top + (top == 0)))), unit
        power = torch.ldexp(torch.full_like(top, 0.5), torch.frexp(top).exponent)
        q = y.div_(power).to(torch.float8_e5m2).to(torch.float32)
        return q.mul_(q.abs() >= SMALLEST), power * r


SMALLEST = 2.0**-14
"""Code of (1,5,2) that the chip does not flush to zero."""


class _Straight(torch.autograd.Function):
    """`value`, with the gradient of `x`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def straight(x: Tensor, value: Tensor) -> Tensor:
    """`value`, with the gradient of `x`."""
    out: Tensor = _Straight.apply(x, value)
    return out
