"""MatMul-free LMs (HGRNBit): an MLGRU token mixer and a GLU, every projection a BitLinear.

Names, shapes and defaults are upstream's (ridgerchu/matmulfreellm, ``configuration_hgrn_bit.py``).
What upstream would honour is honoured, what it cannot run (short convolutions, another attention
mode, lower bounds of another width) is refused by name.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.models.fields import Fields
from setun.firmware.models.files import Files
from setun.firmware.numerics.arithmetic import MeanSquare
from setun.firmware.numerics.ternary import absmean_scale
from setun.firmware.program import kernels
from setun.firmware.program.builder import Builder
from setun.firmware.program.isa import MOST_TOKENS
from setun.firmware.program.kernels import Kernel

Tensor = NDArray[np.float32]
MODEL_TYPE = "hgrn_bit"
CAUSAL_LM = "HGRNBitForCausalLM"
INNER_EPS = 1e-6  # of the norm inside every BitLinear, whatever the configuration prints


@dataclass(frozen=True, kw_only=True)
class HgrnBitConfig:
    """Shape of an HGRNBit model, field names and defaults as upstream's."""

    vocab_size: int = 32000
    """Rows of the embedding and of the head."""
    hidden_size: int = 2048
    """Width of the residual stream."""
    num_hidden_layers: int = 24
    num_heads: int = 1
    """Reshapes the recurrent state, changes no number."""
    expand_ratio: float = 1
    use_lower_bound: bool = True
    """Forget gates are bounded from below by a learned table, one row per layer."""
    intermediate_size: int = 5632
    """Width of the GLU; derived from `hidden_size` when the file has null."""
    tie_word_embeddings: bool = False
    """The head's matrix is the embedding matrix (the head's copy is still ternarised)."""
    rms_norm_eps: float = 1e-6
    """Epsilon of every norm but the one inside each BitLinear, which is fixed at 1e-6."""

    @property
    def inner_size(self) -> int:
        """Width of i, f, g and of the recurrent state (upstream's ``input_dim``)."""
        return int(self.hidden_size * self.expand_ratio)


class HgrnBit:
    """The architecture; see `setun.firmware.models.architecture.Architecture`."""

    model_type = MODEL_TYPE
    description = (
        "MatMul-free LM (HGRNBit layout): MLGRU token mixer, GLU channel mixer, "
        "every projection a BitLinear"
    )
    reference = "setun.sim.reference.hgrn_bit"
    training = "setun.train.hgrn_bit"
    files = Files()

    def parse_config(self, fields: Fields) -> HgrnBitConfig:
        """Check the fields of a config.json; absent ones take upstream's defaults.

        Ignored, as upstream's forward pass ignores them: hidden_act (always SiLU), conv_size,
        share_conv_kernel, max_position_embeddings, token ids, and whatever Hugging Face adds.
        """
        _refuse_unknown_kinds(fields)
        hidden = fields.integer("hidden_size", 2048, 1 << 16)
        config = HgrnBitConfig(
            vocab_size=fields.integer("vocab_size", 32000, MOST_TOKENS),
            hidden_size=hidden,
            num_hidden_layers=fields.integer("num_hidden_layers", 24, 1 << 10),
            num_heads=fields.integer("num_heads", 1, 1 << 16),
            expand_ratio=fields.real("expand_ratio", 1),
            use_lower_bound=fields.boolean("use_lower_bound", True),
            intermediate_size=_intermediate_size(fields, hidden),
            tie_word_embeddings=fields.boolean("tie_word_embeddings", False),
            rms_norm_eps=fields.real("rms_norm_eps", 1e-6),
        )
        if not 1 <= config.inner_size <= 1 << 20:
            fields.refuse("expand_ratio", "times hidden_size must give a width of 1 to 1048576")
        if config.use_lower_bound and config.inner_size != hidden:
            fields.refuse("expand_ratio", "must be 1 with use_lower_bound", "the bounds are H wide")
        if config.inner_size % config.num_heads:
            fields.refuse("num_heads", f"must divide the state width {config.inner_size}")
        if config.rms_norm_eps >= 1:
            fields.refuse("rms_norm_eps", "must be above 0 and below 1")
        return config

    def config_fields(self, config: HgrnBitConfig) -> dict[str, Any]:
        """config.json as upstream's `save_pretrained` writes it."""
        return {
            "architectures": [CAUSAL_LM],
            "model_type": MODEL_TYPE,
            "vocab_size": config.vocab_size,
            "hidden_size": config.hidden_size,
            "num_hidden_layers": config.num_hidden_layers,
            "attn_mode": "fused_recurrent",
            "num_heads": config.num_heads,
            "expand_ratio": config.expand_ratio,
            "use_short_conv": False,
            "conv_size": 4,
            "share_conv_kernel": True,
            "use_lower_bound": config.use_lower_bound,
            "hidden_ratio": 4,
            "intermediate_size": config.intermediate_size,
            "hidden_act": "swish",
            "rms_norm_eps": config.rms_norm_eps,
            "tie_word_embeddings": config.tie_word_embeddings,
            "torch_dtype": "float32",
        }

    def sized(self, vocab_size: int, hidden: int, layers: int, intermediate: int) -> HgrnBitConfig:
        """With bounds, an expansion of 1 and a head of its own."""
        return HgrnBitConfig(
            vocab_size=vocab_size,
            hidden_size=hidden,
            num_hidden_layers=layers,
            intermediate_size=intermediate,
        )

    def sizes(self, config: HgrnBitConfig) -> tuple[int, int, int]:
        """Hidden, layers, intermediate."""
        return config.hidden_size, config.num_hidden_layers, config.intermediate_size

    def weights(self, config: HgrnBitConfig) -> int:
        """All matrices but the embedding."""
        h, d, i = config.hidden_size, config.inner_size, config.intermediate_size
        return config.num_hidden_layers * h * (4 * d + 3 * i) + config.vocab_size * h

    def expected_shapes(self, config: HgrnBitConfig) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor, in upstream's order and ``[out, in]`` layout."""
        h, d, i = config.hidden_size, config.inner_size, config.intermediate_size
        shapes: dict[str, tuple[int, ...]] = {"model.embeddings.weight": (config.vocab_size, h)}
        if config.use_lower_bound:
            shapes["model.lower_bounds"] = (config.num_hidden_layers, h)
        for layer in range(config.num_hidden_layers):
            prefix = f"model.layers.{layer}."
            shapes[prefix + "attn_norm.weight"] = (h,)
            for name in ("i", "f", "g"):
                shapes[f"{prefix}attn.{name}_proj.weight"] = (d, h)
                shapes[f"{prefix}attn.{name}_proj.norm.weight"] = (h,)
            shapes[prefix + "attn.g_norm.weight"] = (d,)
            shapes[prefix + "attn.o_proj.weight"] = (h, d)
            shapes[prefix + "attn.o_proj.norm.weight"] = (d,)
            shapes[prefix + "mlp_norm.weight"] = (h,)
            shapes[prefix + "mlp.gate_proj.weight"] = (2 * i, h)
            shapes[prefix + "mlp.gate_proj.norm.weight"] = (h,)
            shapes[prefix + "mlp.down_proj.weight"] = (h, i)
            shapes[prefix + "mlp.down_proj.norm.weight"] = (i,)
        shapes["model.norm.weight"] = (h,)
        shapes["lm_head.weight"] = (config.vocab_size, h)
        shapes["lm_head.norm.weight"] = (h,)
        return shapes

    def hint(self, tensor: str) -> str:
        """The bounds are there by a flag."""
        return "config.json says use_lower_bound false" if "lower_bounds" in tensor else ""

    def tied(self, config: HgrnBitConfig) -> dict[str, str]:
        """The head's matrix with `tie_word_embeddings`."""
        if not config.tie_word_embeddings:
            return {}
        return {"lm_head.weight": "model.embeddings.weight"}

    def random_tensor(self, name: str, shape: tuple[int, ...], draw: np.random.Generator) -> Tensor:
        """Norms near 1, bounds, embedding and weights normal."""
        values = draw.standard_normal(shape, np.float32)
        if name.endswith("norm.weight"):
            values = 1.0 + 0.1 * values
        elif len(shape) == 2 and "lower_bounds" not in name and "embeddings" not in name:
            values *= shape[1] ** -0.5
        return values

    def write_program(
        self, b: Builder, config: HgrnBitConfig, tensors: Mapping[str, Tensor]
    ) -> None:
        """One page: token mixer and channel mixer of each layer, then the head."""
        hidden, inner = config.hidden_size, config.inner_size
        x = b.vector("x", hidden)
        t = b.vector("t", max(inner, config.intermediate_size))
        gates = 1.0 - lower_bounds(config, tensors)

        def quantise(
            name: str, src: Any, outer: str, mean_square: MeanSquare = MeanSquare.OWN
        ) -> None:
            b.quantise(name, src, tensors[f"{name}.norm.weight"], tensors[outer], mean_square)

        def project(name: str, kernel: Kernel, src: Any = None, dst: Any = None) -> None:
            b.project(name, tensors[f"{name}.weight"], kernel, src=src, dst=dst)

        b.scalars(config.rms_norm_eps, INNER_EPS)
        b.embed(tensors["model.embeddings.weight"], x, "model.embeddings")
        for layer in range(config.num_hidden_layers):
            p = f"model.layers.{layer}"
            h = b.state(f"{p}.attn", gates[layer])
            b.layer(p)
            norm = f"{p}.attn_norm.weight"
            quantise(f"{p}.attn.i_proj", x, norm)
            project(f"{p}.attn.i_proj", kernels.SILU, dst=t)
            quantise(f"{p}.attn.f_proj", x, norm)
            project(f"{p}.attn.f_proj", kernels.MLGRU, src=t, dst=h)
            quantise(f"{p}.attn.g_proj", x, norm)
            project(f"{p}.attn.g_proj", kernels.GLU, src=t, dst=t)
            # The norm is on g, before its product with the state.
            quantise(f"{p}.attn.o_proj", t, f"{p}.attn.g_norm.weight", MeanSquare.ARRAY)
            project(f"{p}.attn.o_proj", kernels.ADD, src=x, dst=x)
            quantise(f"{p}.mlp.gate_proj", x, f"{p}.mlp_norm.weight")
            name = f"{p}.mlp.gate_proj"
            both = tensors[f"{name}.weight"]
            scale, (gate, up) = absmean_scale(both), np.split(both, 2)
            b.project(f"{name}.gate", gate, kernels.COPY, dst=t, keep=True, scale=scale)
            b.project(f"{name}.up", up, kernels.GLU, src=t, dst=t, scale=scale)
            b.quantise(f"{p}.mlp.down_proj", t, tensors[f"{p}.mlp.down_proj.norm.weight"])
            project(f"{p}.mlp.down_proj", kernels.ADD, src=x, dst=x)
        b.end()
        quantise("lm_head", x, "model.norm.weight")
        head = "model.embeddings" if config.tie_word_embeddings else "lm_head"
        b.head(head, tensors[f"{head}.weight"])
        b.end()


def lower_bounds(config: HgrnBitConfig, tensors: Mapping[str, Tensor]) -> Tensor:
    """Bounds [layers, width] of the forget gates: cumsum of softmax over layers, minus row 0."""
    if not config.use_lower_bound:
        return np.zeros((config.num_hidden_layers, config.inner_size), np.float32)
    raw = tensors["model.lower_bounds"]
    e = np.exp(raw - raw.max(0))
    s = e / e.sum(0)
    return np.asarray(np.cumsum(s, 0) - s[0], np.float32)


def _refuse_unknown_kinds(fields: Fields) -> None:
    """What upstream cannot run either, or what are no float weights."""
    architectures = fields.values.get("architectures") or [CAUSAL_LM]
    if not isinstance(architectures, list) or CAUSAL_LM not in architectures:
        fields.refuse("architectures", f'must name "{CAUSAL_LM}"')
    if fields.values.get("attn_mode", "fused_recurrent") != "fused_recurrent":
        fields.refuse("attn_mode", 'must be "fused_recurrent"', "upstream knows no other")
    if fields.boolean("use_short_conv", False):
        fields.refuse("use_short_conv", "must be false", "upstream cannot run it either")
    if fields.values.get("quantization_config") is not None:
        fields.refuse("quantization_config", "must be absent", "import the unquantised weights")


def _intermediate_size(fields: Fields, hidden: int) -> int:
    ratio = 4.0 if fields.values.get("hidden_ratio") is None else fields.real("hidden_ratio", 4)
    if fields.values.get("intermediate_size") is not None:
        return fields.integer("intermediate_size", 0, 1 << 20)
    found = 256 * math.ceil(int(hidden * ratio * 2 / 3) / 256)
    if not 1 <= found <= 1 << 20:
        fields.refuse("hidden_ratio", "must give an intermediate_size of 1 to 1048576")
    return found
