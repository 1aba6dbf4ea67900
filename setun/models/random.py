"""Models of any shape with random weights: what a memory and an array cost at a size."""

import re
import zlib
from functools import partial
from typing import Any

import numpy as np

from setun.firmware.image.image import Image
from setun.firmware.models.architecture import HGRN_BIT, Architecture, Tensor, find
from setun.firmware.models.checkpoint import Checkpoint
from setun.firmware.models.compiler import compile_checkpoint, outline
from setun.firmware.models.weight_files import LazyTensors

# (hidden, layers, intermediate, vocabulary) by name: the MatMul-free LM's sizes, whole and cut, and
# those of a transformer, BitNet 2B4T.
SHAPES = {
    "random-13m": (512, 4, 1408, 64),
    "random-370m-2l": (1024, 2, 2816, 64),
    "random-370m": (1024, 24, 2816, 32_000),
    "random-1.3b-3l": (2048, 3, 5632, 32_000),
    "random-1.3b": (2048, 24, 5632, 32_000),
    "random-2.7b-3l": (2560, 3, 6912, 32_000),
    "random-2.7b": (2560, 32, 6912, 32_000),
    "random-2b4t-3l": (2560, 3, 6912, 128_256),
    "random-2b4t": (2560, 30, 6912, 128_256),
}
TRANSFORMERS = ("random-2b4t-3l", "random-2b4t")
VOCABULARY = 64
_SIZES = re.compile(r"random-([1-9]\d{1,3})x([1-9]\d?)")


def shape(name: str) -> tuple[int, int, int, int] | None:
    """As in `SHAPES`, of those or of random-HIDDENxLAYERS; None of other names.

    The latter have 8/3 * hidden intermediate elements, in multiples of 64.
    """
    if sizes := _SIZES.fullmatch(name):
        hidden, layers = int(sizes[1]), int(sizes[2])
        return hidden, layers, -(-8 * hidden // (3 * 64)) * 64, VOCABULARY
    return SHAPES.get(name)


def architecture_of(name: str) -> Architecture:
    """The architecture of a random model."""
    return find("bitnet") if name in TRANSFORMERS else HGRN_BIT


def random_image(
    model: str | tuple[int, int, int],
    seed: int = 1,
    architecture: Architecture | None = None,
    packing: str = "2b",
) -> Image:
    """The image of a random model: a name that `shape` knows, or (hidden, layers, intermediate)."""
    found = shape(model) if isinstance(model, str) else (*model, VOCABULARY)
    assert found is not None, model
    *sizes, vocabulary = found
    name = model if isinstance(model, str) else "random"
    family = architecture or architecture_of(name)
    config = family.sized(vocabulary, *sizes)
    return compile_checkpoint(random_checkpoint(family, config, seed, name), packing)


def outline_of(
    sizes: tuple[int, int, int, int],
    packing: str = "2b",
    architecture: Architecture | None = None,
    name: str = "random",
) -> Image:
    """The outline of a model of (hidden, layers, intermediate, vocabulary)."""
    *others, vocabulary = sizes
    family = architecture or architecture_of(name)
    return outline(family, family.sized(vocabulary, *others), name, packing)


def random_checkpoint(
    architecture: Architecture, config: Any, seed: int, name: str = "random"
) -> Checkpoint:
    """A checkpoint of any architecture and configuration, without a tokenizer.

    Each tensor has its own random numbers, by its name, and is drawn when it is asked for.
    """

    def drawn(tensor: str, size: tuple[int, ...]) -> Tensor:
        draw = np.random.default_rng([seed, zlib.crc32(tensor.encode())])
        values = architecture.random_tensor(tensor, size, draw)
        values.flags.writeable = False
        return values

    readers = {
        tensor: partial(drawn, tensor, size)
        for tensor, size in architecture.expected_shapes(config).items()
    }
    for tensor, other in architecture.tied(config).items():
        readers[tensor] = readers[other]
    tensors = LazyTensors(readers)
    return Checkpoint(architecture=architecture, config=config, tensors=tensors, name=name)
