"""TinyMLGRU, an architecture made up for `docs/adding-an-architecture.md`: one norm a projection,
a state of another width than the residual stream, no GLU."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from setun.firmware.models.architecture import Tensor
from setun.firmware.models.fields import Fields
from setun.firmware.models.files import Files
from setun.firmware.numerics.ternary import absmean
from setun.firmware.program.builder import Builder
from setun.firmware.program.kernels import ADD, MLGRU, SAMPLE, SILU


@dataclass(frozen=True, kw_only=True)
class TinyConfig:
    """Shape of a TinyMLGRU."""

    vocab_size: int
    width: int
    """Of the residual stream."""
    memory: int
    """Of each layer's recurrent state."""
    depth: int
    eps: float


class TinyMlgru:
    """The architecture; see `setun.firmware.models.architecture.Architecture`."""

    model_type = "tiny_mlgru"
    description = "TinyMLGRU: an MLGRU between two BitLinears, nothing else"
    reference = "firmware.models.tiny_reference"
    training = ""
    files = Files()

    def parse_config(self, fields: Fields) -> TinyConfig:
        return TinyConfig(
            vocab_size=fields.integer("vocabulary", 256, 1 << 16),
            width=fields.integer("width", 64, 1 << 12),
            memory=fields.integer("memory", 64, 1 << 12),
            depth=fields.integer("depth", 2, 1 << 8),
            eps=fields.real("eps", 1e-6),
        )

    def config_fields(self, config: TinyConfig) -> dict[str, Any]:
        return {
            "model_type": self.model_type,
            "vocabulary": config.vocab_size,
            "width": config.width,
            "memory": config.memory,
            "depth": config.depth,
            "eps": config.eps,
        }

    def sized(self, vocab_size: int, hidden: int, layers: int, intermediate: int) -> TinyConfig:
        return TinyConfig(
            vocab_size=vocab_size, width=hidden, memory=intermediate, depth=layers, eps=1e-6
        )

    def sizes(self, config: TinyConfig) -> tuple[int, int, int]:
        return config.width, config.depth, config.memory

    def weights(self, config: TinyConfig) -> int:
        return config.width * (3 * config.memory * config.depth + config.vocab_size)

    def expected_shapes(self, config: TinyConfig) -> dict[str, tuple[int, ...]]:
        v, w, m = config.vocab_size, config.width, config.memory
        shapes: dict[str, tuple[int, ...]] = {"embed": (v, w), "head": (v, w), "head.gain": (w,)}
        for n in range(config.depth):
            shapes[f"{n}.mix"] = (2 * m, w)  # candidates, then forget gates
            shapes[f"{n}.mix.gain"] = (w,)
            shapes[f"{n}.out"] = (w, m)
            shapes[f"{n}.out.gain"] = (m,)
        return shapes

    def hint(self, tensor: str) -> str:
        return ""

    def tied(self, config: TinyConfig) -> dict[str, str]:
        return {}

    def random_tensor(self, name: str, shape: tuple[int, ...], draw: np.random.Generator) -> Tensor:
        values = draw.standard_normal(shape, np.float32)
        return values if len(shape) == 2 else 1 + np.float32(0.3) * values

    def write_program(self, b: Builder, config: TinyConfig, tensors: Mapping[str, Tensor]) -> None:
        x = b.vector("x", config.width)
        t = b.vector("t", config.memory)
        b.scalars(config.eps, config.eps)
        b.embed(tensors["embed"], x, "embed")
        for n in range(config.depth):
            h = b.state(f"{n}", np.ones(config.memory, np.float32))
            b.layer(f"{n}")
            b.quantise(f"{n}.mix", x, tensors[f"{n}.mix.gain"])
            codes, scale = absmean(tensors[f"{n}.mix"])
            candidate, forget = np.split(codes, 2)
            b.matvec(f"{n}.mix.a", candidate, float(scale), SILU, dst=t, keep=True)
            b.matvec(f"{n}.mix.f", forget, float(scale), MLGRU, src=t, dst=h)
            b.quantise(f"{n}.out", t, tensors[f"{n}.out.gain"])
            b.project(f"{n}.out", tensors[f"{n}.out"], ADD, src=x, dst=x)
        b.end()
        b.quantise("head", x, tensors["head.gain"])
        b.project("head", tensors["head"], SAMPLE)
        b.end()
