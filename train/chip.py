"""The chip's own values for a forward pass, from the golden model, bit for bit.

Numerics-aware training takes them over wherever a vector is complete; gradients go straight through
to what was computed in float32.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from setun.firmware.checkpoint import Checkpoint
from setun.firmware.compiler import Image, compile_checkpoint
from setun.firmware.isa import Kernel
from setun.firmware.numerics import Numerics
from setun.sim.golden import GoldenModel
from setun.train.model import HgrnBit, Take

KEPT = {Kernel.MLGRU.name, Kernel.GLU.name, Kernel.ADD.name, Kernel.SAMPLE.name}
"""Kernels whose results are taken over: state, both products of gates, residual stream, logits."""


def image_of(model: HgrnBit) -> Image:
    """`model` compiled."""
    arrays = {n: t.detach().cpu().numpy() for n, t in model.named_parameters()}
    return compile_checkpoint(Checkpoint(model.config, arrays, None))


def chip_values(
    model: HgrnBit, ids: Tensor, numerics: Numerics, seed: int = 1
) -> dict[str, Tensor]:
    """What a chip of `numerics` computes for ids [B, T], every row from a zero state.

    Parameters
    ----------
    seed
        Of the noise that rounds the state, if it is rounded at random: 32 bits.

    Returns
    -------
    dict
        [B · T, n] by the projection whose kernel made it: "model.layers.0.attn.f_proj" has the
        state, "…g_proj" silu(o) · g before its norm, "…mlp.gate_proj.up" the GLU's product,
        "…o_proj" and "…down_proj" the residual stream, "lm_head" the logits.
    """
    if numerics.stochastic:
        numerics = replace(numerics, state_seed=seed)
    steps: dict[str, list[Any]] = {}

    def keep(name: str, unit: str, values: np.ndarray[Any, Any]) -> None:
        if unit in KEPT:
            kept = golden.arithmetic.r(values) if unit == Kernel.MLGRU.name else values
            steps.setdefault(name, []).append(kept.astype(np.float32))

    golden = GoldenModel(image_of(model), numerics, batch=len(ids), trace=keep)
    for tokens in ids.cpu().numpy().T:
        golden.feed(tokens)
        golden.logits()
    device = next(model.parameters()).device
    return {
        name: torch.from_numpy(np.stack(rows, 1)).flatten(0, 1).to(device)
        for name, rows in steps.items()
    }


class _Straight(torch.autograd.Function):
    """`value`, with the gradient of `x`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def taking_over(values: Mapping[str, Tensor]) -> Take:
    """What `HgrnBit` is given to go on with `values`, of `chip_values`, instead of its own."""

    def take(name: str, x: Tensor, unit: Tensor | None) -> Tensor:
        value = values[name]
        out: Tensor = _Straight.apply(x, value if unit is None else value * unit)
        return out

    return take
