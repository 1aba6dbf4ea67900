"""BitNet b1.58 transformers: what they are made of, and how files name it."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.models.bitnet import config as configuration
from setun.firmware.models.bitnet import gguf
from setun.firmware.models.bitnet.config import BitnetConfig
from setun.firmware.models.bitnet.program import write_program
from setun.firmware.models.bitnet.projections import EMBEDDING, HEAD, projections
from setun.firmware.models.fields import Fields
from setun.firmware.models.files import Files, Gguf
from setun.firmware.program.builder import Builder

Tensor = NDArray[Any]
_RENAMED = {  # 1bitLLM's names
    "self_attn.inner_attn_ln.weight": "self_attn.attn_sub_norm.weight",
    "mlp.ffn_layernorm.weight": "mlp.ffn_sub_norm.weight",
}
_TAIL = re.compile(r"(?:self_attn\.inner_attn_ln|mlp\.ffn_layernorm)\.weight$")


class Bitnet:
    """The architecture; see `setun.firmware.models.architecture.Architecture`."""

    model_type = "bitnet"
    description = (
        "BitNet b1.58 transformer: attention with RoPE, a gated feed-forward network, "
        "every projection ternary with int8 inputs"
    )
    reference = "setun.sim.reference.bitnet"
    training = "setun.train.bitnet"

    def __init__(self) -> None:
        self.files = Files(
            also_read=configuration.MODEL_TYPES[1:],
            own_name=_own_name,
            codes=self._stored_codes,
            gguf=dict.fromkeys(gguf.KINDS, Gguf(gguf.values, gguf.weights)),
        )

    def parse_config(self, fields: Fields) -> BitnetConfig:
        """Check the fields of a config.json; absent ones take transformers' defaults."""
        return configuration.parse(fields)

    def config_fields(self, config: BitnetConfig) -> dict[str, Any]:
        """config.json as transformers' `save_pretrained` writes it."""
        return configuration.to_fields(config)

    def sized(self, vocab_size: int, hidden: int, layers: int, intermediate: int) -> BitnetConfig:
        """As 2B4T: relu², sub-norms, a tied float head, heads of 32 to 128 wide."""
        width = min(128, max(32, hidden // 16))
        heads = max(1, hidden // width)
        return BitnetConfig(
            vocab_size=vocab_size,
            hidden_size=hidden,
            intermediate_size=intermediate,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads // 4 if heads % 4 == 0 else heads,
            head_dim=width,
            max_position_embeddings=4096,
            rms_norm_eps=1e-5,
            rope_theta=500000.0,
            tie_word_embeddings=True,
        )

    def sizes(self, config: BitnetConfig) -> tuple[int, int, int]:
        """Hidden, layers, intermediate."""
        return config.hidden_size, config.num_hidden_layers, config.intermediate_size

    def weights(self, config: BitnetConfig) -> int:
        """All projections, and the head where it is ternary."""
        return sum(m * n for m, n in projections(config).values())

    def expected_shapes(self, config: BitnetConfig) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor, transformers' names, ``[out, in]``."""
        h, ternary = config.hidden_size, projections(config)

        def projected(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
            m, n = ternary[name]
            yield f"{name}.weight", (m, n)
            if config.packed:
                yield f"{name}.weight_scale", (m, n // config.group) if config.group else (1,)

        shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.vocab_size, h)}
        for layer in range(config.num_hidden_layers):
            p = f"model.layers.{layer}."
            shapes[p + "input_layernorm.weight"] = (h,)
            for name in ("q", "k", "v"):
                shapes |= projected(f"{p}self_attn.{name}_proj")
            if config.qk_norm:
                shapes[p + "self_attn.q_norm.weight"] = (config.head_dim,)
                shapes[p + "self_attn.k_norm.weight"] = (config.head_dim,)
            if config.sub_norms:
                shapes[p + "self_attn.attn_sub_norm.weight"] = (config.query_size,)
            shapes |= projected(p + "self_attn.o_proj")
            shapes[p + "post_attention_layernorm.weight"] = (h,)
            for name in ("gate", "up"):
                shapes |= projected(f"{p}mlp.{name}_proj")
            if config.sub_norms:
                shapes[p + "mlp.ffn_sub_norm.weight"] = (config.intermediate_size,)
            shapes |= projected(p + "mlp.down_proj")
        shapes["model.norm.weight"] = (h,)
        if config.ternary_head:
            shapes |= projected(HEAD)
        else:
            shapes[HEAD + ".weight"] = (config.vocab_size, h)
        return shapes

    def hint(self, tensor: str) -> str:
        """Biases, norms inside projections, experts, and what a config.json leaves out."""
        for part, why in (
            (".bias", "biases are not done"),
            (".experts.", "experts are not done"),
            (".rms_norm.", "norms inside projections are not read"),
            ("_sub_norm", "config.json is of a model without sub-norms"),
            ("_norm", "config.json is of a model without norms of queries and keys"),
            ("weight_scale", "config.json says that weights are not packed"),
        ):
            if part in tensor:
                return why
        return ""

    def tied(self, config: BitnetConfig) -> dict[str, str]:
        """A float head with `tie_word_embeddings`; a ternary one has a form of its own."""
        if not config.tie_word_embeddings or config.ternary_head:
            return {}
        return {HEAD + ".weight": EMBEDDING}

    def random_tensor(self, name: str, shape: tuple[int, ...], draw: np.random.Generator) -> Tensor:
        """Norms near 1, scales of normal weights, codes a third of which are 0."""
        if name.endswith("weight_scale"):
            return np.full(shape, 0.05, np.float32)
        values = draw.standard_normal(shape, np.float32)
        if name.endswith("norm.weight"):
            return 1.0 + 0.1 * values
        return values if name == EMBEDDING else values * np.float32(shape[1] ** -0.5)

    def write_program(
        self, builder: Builder, config: BitnetConfig, tensors: Mapping[str, Tensor]
    ) -> None:
        """One page: attention and feed-forward network of each layer, then the head."""
        write_program(builder, config, tensors)

    def _stored_codes(self, config: BitnetConfig) -> Collection[str]:
        if not config.packed:
            return ()
        return {f"{name}.weight" for name in projections(config)}


def _own_name(stored: str) -> str:
    """1bitLLM's names become transformers'; buffers of RoPE are no part of a model."""
    if stored.endswith("rotary_emb.inv_freq"):
        return ""
    return _TAIL.sub(lambda match: _RENAMED[match[0]], stored)
