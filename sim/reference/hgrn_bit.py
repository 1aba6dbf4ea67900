"""The float32 reference: a MatMul-free LM as upstream computes it, on one page.

The outermost oracle: it equals upstream's own code (ridgerchu/matmulfreellm) to float32
rounding, with every int8 and ternary code identical. Only the order of one product differs:
upstream multiplies dequantised operands, here the sum of int8 times ternary codes is exact
and scaled once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from setun.firmware.errors import SetunError
from setun.firmware.models.checkpoint import Checkpoint
from setun.sim.reference.layers import (
    ROWS_AT_ONCE,
    Array,
    BitLinear,
    Ids,
    Trace,
    rms_norm,
    scan,
    sigmoid,
    swiglu,
)


def lower_bounds(table: Array) -> Array:
    """Least forget gate per layer and channel [L, D]: softmax over layers, summed up, minus
    the first row."""
    e = np.exp(table - table.max(axis=0))
    s = e / e.sum(axis=0)
    return np.cumsum(s, axis=0, dtype=np.float32) - s[0]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One block's parameters, in the order of use."""

    attn_norm: Array
    i_proj: BitLinear
    f_proj: BitLinear
    g_proj: BitLinear
    g_norm: Array
    o_proj: BitLinear
    mlp_norm: Array
    gate_proj: BitLinear
    down_proj: BitLinear
    lower_bound: Array
    """Least forget gate per channel; 0 in the first layer and without bounds."""


class FloatModel:
    """A checkpoint ready to run.

    `state` [L, D] is the recurrent state after the last token of `forward` or `step`,
    channel c belonging to head ``c // (D / heads)``.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        config, w = checkpoint.config, checkpoint.tensors
        self.config = config

        def bit_linear(name: str) -> BitLinear:
            return BitLinear.quantise(w[name + ".weight"], w[name + ".norm.weight"])

        bounds = np.zeros((config.num_hidden_layers, config.inner_size), dtype=np.float32)
        if config.use_lower_bound:
            bounds = lower_bounds(w["model.lower_bounds"])
        self.embedding, self.norm = w["model.embeddings.weight"], w["model.norm.weight"]
        self.head = bit_linear("lm_head")
        self.layers = [
            Layer(
                attn_norm=w[f"model.layers.{n}.attn_norm.weight"],
                i_proj=bit_linear(f"model.layers.{n}.attn.i_proj"),
                f_proj=bit_linear(f"model.layers.{n}.attn.f_proj"),
                g_proj=bit_linear(f"model.layers.{n}.attn.g_proj"),
                g_norm=w[f"model.layers.{n}.attn.g_norm.weight"],
                o_proj=bit_linear(f"model.layers.{n}.attn.o_proj"),
                mlp_norm=w[f"model.layers.{n}.mlp_norm.weight"],
                gate_proj=bit_linear(f"model.layers.{n}.mlp.gate_proj"),
                down_proj=bit_linear(f"model.layers.{n}.mlp.down_proj"),
                lower_bound=bounds[n],
            )
            for n in range(config.num_hidden_layers)
        ]
        self.reset()

    def reset(self) -> None:
        """Forget everything: the state becomes zero."""
        shape = (self.config.num_hidden_layers, self.config.inner_size)
        self.state: Array = np.zeros(shape, dtype=np.float32)

    def forward(
        self, ids: Ids | Sequence[int], *, state: Array | None = None, trace: Trace | None = None
    ) -> Array:
        """Logits [T, V] after each of the tokens `ids` [T], from `state` [L, D] or from zero.

        `trace` collects every operation's output: ``L{l}.`` with in, attn_norm, i_proj,
        f_proj, g_proj, scan_i, scan_f, scan_o, g_norm, o_proj, mlp_norm_residual, mlp_norm,
        gate_proj, down_proj, out; norm, lm_head; of each projection .xq (int8 codes) and
        .xscale (codes per unit).
        """
        start = None if state is None else state[:, None]
        batched: Trace = {}
        logits, end = self._run(
            np.asarray(ids, dtype=np.int64)[None], start, None if trace is None else batched
        )
        self.state = end[:, 0]
        if trace is not None:
            trace |= {name: value[0] for name, value in batched.items()}
        return logits[0]

    def step(self, token: int) -> Array:
        """Logits [V] after one more token, continuing from `state`."""
        return self.forward([token], state=self.state)[0]

    def forward_batch(self, ids: Ids) -> Array:
        """Logits [B, T, V] of B sequences, each from a zero state; `state` is left alone."""
        ids = np.asarray(ids)
        step = max(1, ROWS_AT_ONCE // max(1, ids.shape[1]))
        parts = [self._run(ids[k : k + step], None, None)[0] for k in range(0, len(ids), step)]
        return np.concatenate(parts)

    def _run(self, ids: Ids, state: Array | None, trace: Trace | None) -> tuple[Array, Array]:
        if ids.size and not 0 <= ids.min() <= ids.max() < self.config.vocab_size:
            wrong = ids[(ids < 0) | (ids >= self.config.vocab_size)][0]
            raise SetunError("token id", f"must be 0 to {self.config.vocab_size - 1}", wrong)
        if state is None:
            shape = (len(self.layers), len(ids), self.config.inner_size)
            state = np.zeros(shape, dtype=np.float32)
        end = np.empty_like(state)
        eps = self.config.rms_norm_eps
        x: Array = self.embedding[ids]
        for layer, w in enumerate(self.layers):
            n = f"L{layer}."
            a = rms_norm(x, w.attn_norm, eps)
            i = w.i_proj(a, trace, n + "i_proj")
            f = sigmoid(w.f_proj(a, trace, n + "f_proj"))
            g = w.g_proj(a, trace, n + "g_proj")
            f = w.lower_bound + (1 - w.lower_bound) * f
            i = swiglu(i, 1 - f)
            o = scan(i, f, state[layer])
            end[layer] = o[:, -1] if o.shape[1] else state[layer]
            z = swiglu(o, rms_norm(g, w.g_norm, eps))  # the norm is on g, the SiLU on o
            r = x + w.o_proj(z, trace, n + "o_proj")
            b = rms_norm(r, w.mlp_norm, eps)
            gate, up = np.split(w.gate_proj(b, trace, n + "gate_proj"), 2, axis=-1)
            y = r + w.down_proj(swiglu(gate, up), trace, n + "down_proj")
            if trace is not None:
                trace |= {n + "in": x, n + "attn_norm": a, n + "scan_i": i, n + "scan_f": f}
                trace |= {n + "scan_o": o, n + "g_norm": z, n + "mlp_norm_residual": r}
                trace |= {n + "mlp_norm": b, n + "out": y}
            x = y
        x = rms_norm(x, self.norm, eps)
        if trace is not None:
            trace["norm"] = x
        return self.head(x, trace, "lm_head"), end
