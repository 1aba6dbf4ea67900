"""Models of any shape with random weights: what a memory and an array cost at a size."""

import re

import numpy as np

from setun.firmware.models.checkpoint import Checkpoint, ModelConfig, expected_shapes
from setun.firmware.program.compiler import Image, compile_checkpoint

# (hidden, layers, intermediate) by name; the second is two layers of the MatMul-free LM's 370M.
SHAPES = {"random-13m": (512, 4, 1408), "random-370m-2l": (1024, 2, 2816)}
VOCABULARY = 64
_SIZES = re.compile(r"random-([1-9]\d{1,3})x([1-9]\d?)")


def shape(name: str) -> tuple[int, int, int] | None:
    """(hidden, layers, intermediate) of `SHAPES` or of random-HIDDENxLAYERS; None of others.

    The latter have 8/3 * hidden intermediate elements, in multiples of 64.
    """
    if sizes := _SIZES.fullmatch(name):
        hidden, layers = int(sizes[1]), int(sizes[2])
        return hidden, layers, -(-8 * hidden // (3 * 64)) * 64
    return SHAPES.get(name)


def random_image(model: str | tuple[int, int, int], seed: int = 1) -> Image:
    """The image of a random model: a name that `shape` knows, or another shape as there.

    Norms are near 1, bounds and weights normal.
    """
    found = shape(model) if isinstance(model, str) else model
    assert found is not None, model
    hidden, layers, intermediate = found
    config = ModelConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        num_hidden_layers=layers,
        intermediate_size=intermediate,
    )
    rng = np.random.default_rng(seed)
    tensors = {}
    for tensor, size in expected_shapes(config).items():
        values = rng.standard_normal(size, np.float32)
        if tensor.endswith("norm.weight"):
            values = 1.0 + 0.1 * values
        elif len(size) == 2 and "lower_bounds" not in tensor and "embeddings" not in tensor:
            values *= size[1] ** -0.5
        tensors[tensor] = values.astype(np.float32)
    return compile_checkpoint(Checkpoint(config, tensors, None))
