"""The model that is trained: HGRNBit, its parameters named as in upstream's checkpoints."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from setun.firmware.models.hgrn_bit import HgrnBitConfig
from setun.train.chip import Chip, Quantiser, straight
from setun.train.layers import Gates, Swiglu, inverse_rms
from setun.train.modules import (
    INITIALISER_RANGE,
    BitLinear,
    Embedding,
    Gain,
    normed_projections,
    project,
    rms_norm,
)
from setun.train.scan import scan

MIXER_GAIN = 2**-2.5
"""Gain of Xavier's uniform distribution, for the token mixer's matrices (upstream's)."""


class Mixer(nn.Module):
    """MLGRU token mixer: x [B · T, H] → [B · T, H]."""

    def __init__(self, config: HgrnBitConfig) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, config.inner_size
        self.eps = config.rms_norm_eps
        self.i_proj, self.f_proj = BitLinear(hidden, inner), BitLinear(hidden, inner)
        self.g_proj, self.g_norm = BitLinear(hidden, inner), Gain(inner)
        self.o_proj = BitLinear(inner, hidden)
        for matrix in (self.i_proj, self.f_proj, self.g_proj, self.o_proj):
            nn.init.xavier_uniform_(matrix.weight, gain=MIXER_GAIN)

    def forward(
        self, x: Tensor, norm: Gain, bound: Tensor, batch: int, chip: Chip | None
    ) -> Tensor:
        linears = self.i_proj, self.f_proj, self.g_proj
        i, f, g = normed_projections(x, norm, self.eps, chip, *linears)
        forget, new = Gates.apply(i, f, bound)
        if chip is not None:
            values = chip.gates(i.detach(), f.detach(), bound.detach())
            forget, new = map(straight, (forget, new), values)
        shape = batch, -1, i.shape[-1]
        forget, new = forget.reshape(shape), new.reshape(shape)
        if chip is not None:
            new = straight(new, chip.rounded(forget.detach(), new.detach()))
        o = scan(forget, new).reshape(i.shape)
        gated = Swiglu.apply(o, rms_norm(g, self.g_norm, self.eps))
        quantiser = None
        if chip is not None:  # it norms g after its product with o
            value, unit = chip.gated(o.detach(), g.detach()), inverse_rms(g.detach(), self.eps)
            quantiser = Quantiser(chip, value, self.g_norm.weight.detach(), unit)
        return project(gated, self.o_proj, quantiser=quantiser)[0]


class Glu(nn.Module):
    """Channel mixer: x [N, H] → [N, H]; the first half of `gate_proj` passes through SiLU."""

    def __init__(self, config: HgrnBitConfig) -> None:
        super().__init__()
        self.gate_proj = BitLinear(config.hidden_size, 2 * config.intermediate_size)
        self.down_proj = BitLinear(config.intermediate_size, config.hidden_size)
        nn.init.normal_(self.gate_proj.weight, std=INITIALISER_RANGE)
        deep = (2 * config.num_hidden_layers) ** 0.5
        nn.init.normal_(self.down_proj.weight, std=INITIALISER_RANGE / deep)

    def forward(self, x: Tensor, norm: Gain, eps: float, chip: Chip | None) -> Tensor:
        gate, up = normed_projections(x, norm, eps, chip, self.gate_proj)[0].chunk(2, -1)
        gated, quantiser = Swiglu.apply(gate, up), None
        if chip is not None:
            quantiser = Quantiser(chip, chip.gated(gate.detach(), up.detach()))
        return project(gated, self.down_proj, quantiser=quantiser)[0]


class Block(nn.Module):
    """Token mixer and channel mixer around the residual stream."""

    def __init__(self, config: HgrnBitConfig) -> None:
        super().__init__()
        self.eps = config.rms_norm_eps
        self.attn_norm, self.attn = Gain(config.hidden_size), Mixer(config)
        self.mlp_norm, self.mlp = Gain(config.hidden_size), Glu(config)

    def forward(
        self, x: Tensor, bound: Tensor, batch: int, dropout: float, chip: Chip | None
    ) -> Tensor:
        mixed = self.attn(x, self.attn_norm, bound, batch, chip)
        x = x + functional.dropout(mixed, dropout, self.training)
        mixed = self.mlp(x, self.mlp_norm, self.eps, chip)
        return x + functional.dropout(mixed, dropout, self.training)


class Body(nn.Module):
    """All but the head."""

    def __init__(self, config: HgrnBitConfig) -> None:
        super().__init__()
        self.embeddings = Embedding(config.vocab_size, config.hidden_size)
        shape = config.num_hidden_layers, config.inner_size
        self.lower_bounds = nn.Parameter(torch.zeros(shape))
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = Gain(config.hidden_size)


class TrainedModel(nn.Module):
    """An HGRNBit language model; names and shapes of its state are those of
    `setun.firmware.models.hgrn_bit.HgrnBit.expected_shapes`.

    Parameters
    ----------
    config
        With lower bounds, an expansion of 1 and a head of its own.
    dropout
        Share of the mixers' outputs that training leaves out.
    matmul
        Type in which matrices are multiplied: float32, or bfloat16, where all else, and on a CPU
        or in an evaluation the products of codes and ternary weights too, stays exact.
    """

    head = "lm_head.weight"

    def __init__(
        self, config: HgrnBitConfig, dropout: float = 0.0, matmul: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.config, self.dropout = config, dropout
        self.model = Body(config)
        self.lm_head = BitLinear(config.hidden_size, config.vocab_size)
        nn.init.normal_(self.lm_head.weight, std=INITIALISER_RANGE)
        for module in self.modules():
            if isinstance(module, BitLinear):
                module.matmul = matmul

    def forward(self, ids: Tensor, chip: Chip | None = None) -> Tensor:
        """Logits [B, T, V] of ids [B, T], every row from a zero state; in float32, or with what
        the numerics of `chip` make of it."""
        batch, eps = len(ids), self.config.rms_norm_eps
        bounds = self.model.lower_bounds.softmax(0).cumsum(0)
        bounds = bounds - bounds[0]
        x = self.model.embeddings.weight[ids.flatten()]
        for layer, bound in zip(self.model.layers, bounds, strict=True):
            x = layer(x, bound, batch, self.dropout, chip)
        logits = normed_projections(x, self.model.norm, eps, chip, self.lm_head)[0]
        return logits.reshape(*ids.shape, -1)
