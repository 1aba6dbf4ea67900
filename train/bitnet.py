"""The model that is trained: a BitNet b1.58 transformer, its parameters named as in checkpoints."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from setun.firmware.errors import SetunError
from setun.firmware.models.bitnet.config import BitnetConfig
from setun.train.chip import Chip, straight
from setun.train.layers import NormedProject, Relu2, Rotate, Swiglu, inverse_rms
from setun.train.modules import INITIALISER_RANGE, Embedding, Gain, Weight, matmul_of, rms_norm


class Projections(nn.Module):
    """What layers share: several ternary matrices behind one norm, or none."""

    def __init__(self, config: BitnetConfig) -> None:
        super().__init__()
        self.eps = config.rms_norm_eps

    def project(self, x: Tensor, norm: Gain | None, chip: Chip | None, *to: Weight) -> Tensor:
        """x [N, n] normed, then through each of the projections: [N, Σ m]."""
        gain = None if norm is None else norm.weight
        weights = [linear.weight for linear in to]
        out: Tensor = NormedProject.apply(x, gain, self.eps, chip, matmul_of(to[0], x), *weights)
        return out


class Attention(Projections):
    """Causal attention with RoPE: x [B · T, H] → [B · T, H]."""

    def __init__(self, config: BitnetConfig) -> None:
        super().__init__(config)
        hidden, queries, keys = config.hidden_size, config.query_size, config.key_size
        self.heads, self.shared, self.d = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        self.q_proj, self.k_proj = Weight(hidden, queries), Weight(hidden, keys)
        self.v_proj, self.o_proj = Weight(hidden, keys), Weight(queries, hidden)
        for matrix in (self.q_proj, self.k_proj, self.v_proj):
            nn.init.normal_(matrix.weight, std=INITIALISER_RANGE)
        deep = (2 * config.num_hidden_layers) ** 0.5
        nn.init.normal_(self.o_proj.weight, std=INITIALISER_RANGE / deep)
        self.q_norm = Gain(self.d) if config.qk_norm else None
        self.k_norm = Gain(self.d) if config.qk_norm else None
        self.attn_sub_norm = Gain(queries) if config.sub_norms else None

    def forward(
        self, x: Tensor, norm: Gain, turns: tuple[Tensor, Tensor], batch: int, chip: Chip | None
    ) -> Tensor:
        projected = self.project(x, norm, chip, self.q_proj, self.k_proj, self.v_proj)
        heads = projected.reshape(batch, len(x) // batch, -1, self.d)
        if self.q_norm is not None and self.k_norm is not None:
            heads = self._normed(heads, self.q_norm, self.k_norm)
        turned = Rotate.apply(heads, self.heads + self.shared, *turns)
        if chip is not None and chip.numerics.lmul_in_rope:
            theirs = chip.turned(heads.detach(), self.heads + self.shared, *turns)
            turned = straight(turned, theirs)
        sizes = [self.heads, self.shared, self.shared]
        q, k, v = (part.transpose(1, 2) for part in turned.split(sizes, 2))
        grouped = self.shared < self.heads
        o = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        if chip is not None:
            o = straight(o, chip.attended(o.detach(), self._scores(q.detach(), k.detach())))
        together = o.transpose(1, 2).reshape(len(x), -1)
        return self.project(together, self.attn_sub_norm, chip, self.o_proj)

    def _normed(self, heads: Tensor, *norms: Gain) -> Tensor:
        """Queries and keys of [B, T, all heads, d] normed, each head by itself."""
        parts = list(heads.split([self.heads, self.shared, self.shared], 2))
        for number, norm in enumerate(norms):
            rows = parts[number].reshape(-1, self.d)
            parts[number] = rms_norm(rows, norm, self.eps).reshape(parts[number].shape)
        return torch.cat(parts, 2)

    def _scores(self, q: Tensor, k: Tensor) -> Tensor:
        """[B, heads, T, T] of queries and keys [B, heads, T, d], -inf for what comes later."""
        k = k.repeat_interleave(self.heads // self.shared, 1)
        later = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device).triu(1)
        return (q @ k.mT / math.sqrt(self.d)).masked_fill(later, -math.inf)


class FeedForward(Projections):
    """Gated feed-forward network: x [N, H] → [N, H]."""

    def __init__(self, config: BitnetConfig) -> None:
        super().__init__(config)
        hidden, middle = config.hidden_size, config.intermediate_size
        self.gate_proj, self.up_proj = Weight(hidden, middle), Weight(hidden, middle)
        self.down_proj = Weight(middle, hidden)
        for matrix in (self.gate_proj, self.up_proj):
            nn.init.normal_(matrix.weight, std=INITIALISER_RANGE)
        deep = (2 * config.num_hidden_layers) ** 0.5
        nn.init.normal_(self.down_proj.weight, std=INITIALISER_RANGE / deep)
        self.ffn_sub_norm = Gain(middle) if config.sub_norms else None
        self.relu2 = config.hidden_act == "relu2"

    def forward(self, x: Tensor, norm: Gain, chip: Chip | None) -> Tensor:
        both = self.project(x, norm, chip, self.gate_proj, self.up_proj)
        gate, up = both.chunk(2, -1)
        mixed = Relu2.apply(both) if self.relu2 else Swiglu.apply(gate, up)
        if chip is not None:
            product = chip.squared if self.relu2 else chip.gated
            mixed = straight(mixed, product(gate.detach(), up.detach()))
        return self.project(mixed, self.ffn_sub_norm, chip, self.down_proj)


class Block(nn.Module):
    """Attention and feed-forward network around the residual stream."""

    def __init__(self, config: BitnetConfig) -> None:
        super().__init__()
        self.input_layernorm, self.self_attn = Gain(config.hidden_size), Attention(config)
        self.post_attention_layernorm = Gain(config.hidden_size)
        self.mlp = FeedForward(config)

    def forward(
        self,
        x: Tensor,
        turns: tuple[Tensor, Tensor],
        batch: int,
        dropout: float,
        chip: Chip | None,
    ) -> Tensor:
        mixed = self.self_attn(x, self.input_layernorm, turns, batch, chip)
        x = x + functional.dropout(mixed, dropout, self.training)
        mixed = self.mlp(x, self.post_attention_layernorm, chip)
        return x + functional.dropout(mixed, dropout, self.training)


class Body(nn.Module):
    """All but a head of its own."""

    def __init__(self, config: BitnetConfig) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = Gain(config.hidden_size)


class TrainedModel(nn.Module):
    """A BitNet b1.58 transformer; names and shapes of its state are those of
    `setun.firmware.models.bitnet.architecture.Bitnet.expected_shapes`, but that a tied head has
    none of its own.

    Parameters
    ----------
    config
        With one scale a matrix and a float head.
    dropout
        Share of the mixers' outputs that training leaves out.
    matmul
        Type in which ternary matrices are multiplied: float32, or bfloat16, where all else, and on
        a CPU or in an evaluation these products too, stays exact.

    Raises
    ------
    SetunError
        The head is ternary, or weights are packed or have several scales.
    """

    head = "model.norm.weight"

    def __init__(
        self, config: BitnetConfig, dropout: float = 0.0, matmul: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        _refuse_what_is_not_trained(config)
        self.config, self.dropout = config, dropout
        self.model = Body(config)
        self.lm_head = None
        if not config.tie_word_embeddings:
            self.lm_head = Embedding(config.vocab_size, config.hidden_size)
        for module in self.modules():
            if isinstance(module, Weight):
                module.matmul = matmul

    def forward(self, ids: Tensor, chip: Chip | None = None) -> Tensor:
        """Logits [B, T, V] of ids [B, T], every row from the first position; in float32, or with
        what the numerics of `chip` make of it."""
        x = self.model.embed_tokens.weight[ids.flatten()]
        turns = _turns(self.config, ids.shape[1], x)
        for layer in self.model.layers:
            x = layer(x, turns, len(ids), self.dropout, chip)
        head = self.model.embed_tokens if self.lm_head is None else self.lm_head
        norm, eps = self.model.norm, self.config.rms_norm_eps
        logits = rms_norm(x, norm, eps) @ head.weight.T
        if chip is not None:
            q, unit = chip.codes(x.detach(), norm.weight.detach(), inverse_rms(x.detach(), eps))
            logits = straight(logits, chip.mul(q.to(x.dtype) @ head.weight.detach().T, unit))
        return logits.reshape(*ids.shape, -1)


def _turns(config: BitnetConfig, count: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of RoPE, [T, 1, d / 2] each, of positions from 0 on."""
    half = config.head_dim // 2
    powers = torch.arange(half, dtype=like.dtype, device=like.device) / half
    positions = torch.arange(count, dtype=like.dtype, device=like.device)
    angles = (positions[:, None] / config.rope_theta**powers)[:, None]
    return angles.cos(), angles.sin()


def _refuse_what_is_not_trained(config: BitnetConfig) -> None:
    for given, rule, value in (
        (not config.packed, "must have float weights", "packed codes"),
        (not config.group, "must have one scale a matrix", f"one for {config.group} inputs"),
        (not config.ternary_head, "must have a float head", "a ternary one"),
        (config.int8_inputs, "must quantise inputs of projections", "float inputs"),
    ):
        if not given:
            raise SetunError("model to train", rule, value)
