"""Models of any shape with random weights: what a memory and an array cost at a size."""

import numpy as np

from setun.firmware.checkpoint import Checkpoint, ModelConfig, expected_shapes
from setun.firmware.compiler import Image, compile_checkpoint

# (hidden, layers, intermediate) by name; the last is two layers of the MatMul-free LM's 370M.
SHAPES = {
    "random-430k": (128, 2, 384), "random-13m": (512, 4, 1408), "random-370m-2l": (1024, 2, 2816),
}  # fmt: skip
VOCABULARY = 64


def random_image(model: str | tuple[int, int, int], seed: int = 1) -> Image:
    """The image of a random model: a name of `SHAPES`, or another shape as there.

    Norms are near 1, bounds and weights normal.
    """
    hidden, layers, intermediate = SHAPES[model] if isinstance(model, str) else model
    config = ModelConfig(
        vocab_size=VOCABULARY, hidden_size=hidden, num_hidden_layers=layers,
        intermediate_size=intermediate,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    tensors = {}
    for tensor, shape in expected_shapes(config).items():
        values = rng.standard_normal(shape, np.float32)
        if tensor.endswith("norm.weight"):
            values = 1.0 + 0.1 * values
        elif len(shape) == 2 and "lower_bounds" not in tensor and "embeddings" not in tensor:
            values *= shape[1] ** -0.5
        tensors[tensor] = values.astype(np.float32)
    return compile_checkpoint(Checkpoint(config, tensors, None))
