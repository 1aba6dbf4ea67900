"""BitNet b1.58 transformers in float32, on one page.

The outermost oracle: it equals transformers' own code to float32 rounding, with every int8 and
ternary code identical. Only the order of one product differs: upstream multiplies dequantised
operands, here the sum of int8 times ternary codes is exact and scaled once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from setun.firmware.errors import SetunError
from setun.firmware.models.bitnet.config import BitnetConfig
from setun.firmware.models.bitnet.projections import EMBEDDING, HEAD, projection, projections
from setun.firmware.models.checkpoint import Checkpoint
from setun.firmware.numerics.matmul import product
from setun.sim.reference.layers import (
    EXACT_IN_FLOAT32,
    ROWS_AT_ONCE,
    Array,
    Ids,
    Trace,
    absmax,
    attend,
    rms_norm,
    swiglu,
)

HELD = 1 << 28
"""Ternary weights up to which all projections stay in memory; larger models are read anew."""

Cache = list[tuple[Array, Array]]
"""Keys after RoPE and values [B, positions, key_value_heads, head_dim], of each layer."""


@dataclass(frozen=True)
class Projection:
    """A ternary matrix: inputs as `codes_of` gives them → [..., m]."""

    weight: Array
    """[m, n]: codes, in the float type whose dot products are exact; with several scales a row,
    or for inputs that are no codes, the numbers."""
    scale: np.float32

    def __call__(self, inputs: tuple[Array, Array | None]) -> Array:
        q, a = inputs
        scale = self.scale if a is None else self.scale / a
        return (product(q, self.weight.T) * scale).astype(np.float32, copy=False)


def relu2(x: Array) -> Array:
    """The square of the positive part."""
    positive = np.maximum(x, np.float32(0))
    return positive * positive


def rotated(x: Array, first: int, theta: float) -> Array:
    """RoPE by halves: x [B, T, heads, d] at positions `first` and following."""
    half = x.shape[-1] // 2
    powers = np.arange(half, dtype=np.float32) / np.float32(half)
    frequencies = np.float32(1) / np.float32(theta) ** powers
    positions = np.arange(first, first + x.shape[1], dtype=np.float32)
    angles = (positions[:, None] * frequencies)[:, None]
    cos, sin = np.cos(angles), np.sin(angles)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


class FloatModel:
    """A checkpoint ready to run; `step` goes on from a cache, `reset` empties it."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.config: BitnetConfig = checkpoint.config
        self._tensors = checkpoint.tensors
        self._shapes = projections(self.config)
        self._holds = checkpoint.architecture.weights(self.config) <= HELD
        self._held: dict[str, Projection] = {}
        self.embedding = self._tensors[EMBEDDING]
        self.reset()

    def reset(self) -> None:
        """Forget everything: the cache becomes empty."""
        shape = (1, 0, self.config.num_key_value_heads, self.config.head_dim)
        nothing = np.zeros(shape, np.float32)
        self._cache: Cache = [(nothing, nothing)] * self.config.num_hidden_layers

    def forward(self, ids: Ids | Sequence[int], *, trace: Trace | None = None) -> Array:
        """Logits [T, V] of a sequence [T]; see `run` for `trace`."""
        return self.run(np.asarray(ids, np.int64)[None], trace=trace)[0]

    def step(self, token: int) -> Array:
        """Logits [V] after one more token."""
        return self.run(np.array([[token]]), cache=self._cache)[0, 0]

    def forward_batch(self, ids: Ids) -> Array:
        """Logits [B, T, V] of B sequences, each from its first position."""
        ids = np.asarray(ids)
        step = max(1, ROWS_AT_ONCE // max(1, ids.shape[1]))
        return np.concatenate([self.run(ids[k : k + step]) for k in range(0, len(ids), step)])

    def run(self, ids: Ids, *, cache: Cache | None = None, trace: Trace | None = None) -> Array:
        """Logits [B, T, V] of ids [B, T].

        Parameters
        ----------
        cache
            What came before, which these are appended to; None for nothing.
        trace
            Collects of each layer, after ``L{l}.``: q, k (after RoPE), v_proj, probs, attn_out,
            o_proj, gate_proj, up_proj, mlp_mid, down_proj, out; of the inputs of qkv, o, gateup
            and down .codes (int8) and .scale (codes per unit); and norm.
        """
        c, w = self.config, self._tensors
        if ids.size and not 0 <= ids.min() <= ids.max() < c.vocab_size:
            wrong = ids[(ids < 0) | (ids >= c.vocab_size)][0]
            raise SetunError("token id", f"must be 0 to {c.vocab_size - 1}", wrong)
        batch, count = ids.shape
        seen = {} if trace is None else trace
        x: Array = self.embedding[ids]
        for layer in range(c.num_hidden_layers):
            n, p = f"L{layer}.", f"model.layers.{layer}."
            a = f"{p}self_attn."
            inputs = self._inputs(self._norm(x, p + "input_layernorm"), seen, n + "qkv")
            q, k, v = (
                self._projection(f"{a}{name}_proj")(inputs).reshape(batch, count, -1, c.head_dim)
                for name in ("q", "k", "v")
            )
            if c.qk_norm:
                q, k = self._norm(q, a + "q_norm"), self._norm(k, a + "k_norm")
            first = 0 if cache is None else cache[layer][0].shape[1]
            q, k = self.rotated(q, first), self.rotated(k, first)
            seen |= {n + "q": q, n + "k": k, n + "v_proj": v.reshape(batch, count, -1)}
            if cache is not None:
                before_k, before_v = cache[layer]
                k, v = np.concatenate([before_k, k], 1), np.concatenate([before_v, v], 1)
                cache[layer] = k, v
            o, probabilities = self.attend(q, k, v)
            seen |= {n + "probs": probabilities, n + "attn_out": o}
            if c.sub_norms:
                o = self._norm(o, a + "attn_sub_norm")
            o = self._projection(a + "o_proj")(self._inputs(o, seen, n + "o"))
            x = x + o
            m = self._norm(x, p + "post_attention_layernorm")
            inputs = self._inputs(m, seen, n + "gateup")
            gate = self._projection(p + "mlp.gate_proj")(inputs)
            up = self._projection(p + "mlp.up_proj")(inputs)
            m = relu2(gate) * up if c.hidden_act == "relu2" else swiglu(gate, up)
            seen |= {n + "o_proj": o, n + "gate_proj": gate, n + "up_proj": up, n + "mlp_mid": m}
            if c.sub_norms:
                m = self._norm(m, p + "mlp.ffn_sub_norm")
            down = self._projection(p + "mlp.down_proj")(self._inputs(m, seen, n + "down"))
            x = x + down
            seen |= {n + "down_proj": down, n + "out": x}
        x = seen["norm"] = self._norm(x, "model.norm")
        if c.ternary_head:
            return self._projection(HEAD)(self._inputs(x, seen, "head"))
        return x @ w[f"{HEAD}.weight"].T

    def rotated(self, x: Array, first: int) -> Array:
        """RoPE: x [B, T, heads, d] at positions `first` and following."""
        return rotated(x, first, self.config.rope_theta)

    def attend(self, q: Array, k: Array, v: Array) -> tuple[Array, Array]:
        """Outputs [B, T, heads * d] and probabilities; see `layers.attend`."""
        return attend(q, k, v)

    def _norm(self, x: Array, name: str) -> Array:
        return rms_norm(x, self._tensors[f"{name}.weight"], self.config.rms_norm_eps)

    def _inputs(self, x: Array, seen: Trace, name: str) -> tuple[Array, Array | None]:
        """What projections see of x: codes and codes per unit, or x itself and None."""
        if not self.config.int8_inputs:
            return x, None
        q, a = absmax(x, np.rint)
        seen |= {f"{name}.codes": q.astype(np.int8), f"{name}.scale": a[..., 0]}
        return q, a

    def _projection(self, name: str) -> Projection:
        if name in self._held:
            return self._held[name]
        codes, scale = projection(self.config, self._tensors, name)
        if scale.size > 1:
            each = np.repeat(scale, self.config.group, axis=1)
            made = Projection(np.multiply(codes, each, dtype=np.float32), np.float32(1))
        else:
            exact = np.float32 if codes.shape[1] <= EXACT_IN_FLOAT32 else np.float64
            made = Projection(codes.astype(exact), scale[0])
        if self._holds:
            self._held[name] = made
        return made
