"""Modules that models in training are made of, parameters named as in upstream's checkpoints."""

import torch
from torch import Tensor, nn

from setun.train.chip import Chip, Quantiser
from setun.train.layers import Project, RmsNorm, inverse_rms

INITIALISER_RANGE = 0.02


class Gain(nn.Module):
    """A norm's gain [n]; holds a parameter called `weight`, as upstream's norms do."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


class Weight(nn.Module):
    """A ternary matrix: x [N, n] → [N, m].

    `weight` is latent: float, made ternary in every forward pass. `matmul` is the type in which
    products are made, see `setun.train.hgrn_bit`.
    """

    matmul = torch.float32

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))


class BitLinear(Weight):
    """A ternary projection with its own input norm: x [N, n] → [N, m]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.norm = Gain(inputs)


def matmul_of(linear: Weight, x: Tensor) -> torch.dtype:
    """Type in which a projection multiplies x."""
    # An evaluation tells the model's loss, not the device's: its sums are exact everywhere.
    exact = not linear.training and x.device.type != "cpu"
    return torch.float32 if exact else linear.matmul


def project(
    x: Tensor, *linears: BitLinear, quantiser: Quantiser | None = None
) -> tuple[Tensor, ...]:
    """x through each of the projections: one pass over what they share. With a `quantiser`, which
    is given what x was before its norms, as a chip does it."""
    pairs = [t for linear in linears for t in (linear.norm.weight, linear.weight)]
    out: tuple[Tensor, ...] = Project.apply(x, quantiser, matmul_of(linears[0], x), *pairs)
    return out


def normed_projections(
    x: Tensor, norm: "Gain", eps: float, chip: Chip | None, *linears: BitLinear
) -> tuple[Tensor, ...]:
    """x normed, then through each of the projections. A chip has both norms' gains in one."""
    quantiser = None
    if chip is not None:
        gain, value = norm.weight.detach(), x.detach()
        quantiser = Quantiser(chip, value, gain, inverse_rms(value, eps))
    return project(rms_norm(x, norm, eps), *linears, quantiser=quantiser)


def rms_norm(x: Tensor, gain: Gain, eps: float) -> Tensor:
    """x [N, n] over its root mean square, times the gain."""
    out: Tensor = RmsNorm.apply(x, gain.weight, eps)
    return out


class Embedding(nn.Module):
    """Rows of a float table; holds a parameter called `weight`."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width).normal_(std=INITIALISER_RANGE))
