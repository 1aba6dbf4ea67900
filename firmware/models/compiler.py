"""Checkpoint to image: the architecture writes the program, the builder keeps what it needs."""

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from setun.firmware.image.image import Image
from setun.firmware.models.architecture import Architecture, Tensor
from setun.firmware.models.checkpoint import Checkpoint
from setun.firmware.numerics.ternary import BLOCK
from setun.firmware.program.builder import TERNARY, Builder

Progress = Callable[[int], None]


def compile_checkpoint(
    checkpoint: Checkpoint,
    packing: str = "2b",
    progress: Progress = lambda numbers: None,
    *,
    head: str = TERNARY,
) -> Image:
    """The image of `checkpoint`; deterministic.

    Each tensor is made ternary and packed while the next is read: the memory that it takes is the
    image's and two tensors'.

    Parameters
    ----------
    packing
        How weights are held and stored.
    progress
        Called with the numbers of each tensor that is read.
    head
        One of `setun.firmware.program.builder.HEADS`.
    """
    builder, config = Builder(checkpoint.name, packing, head), checkpoint.config
    architecture = checkpoint.architecture
    shapes = architecture.expected_shapes(config)
    large = [name for name, shape in shapes.items() if math.prod(shape) > BLOCK]
    with ThreadPoolExecutor(1) as thread:
        tensors = _Watched(checkpoint.tensors, progress, thread, dict(pairwise(large)))
        architecture.write_program(builder, config, tensors)
    image = builder.image(checkpoint.tokenizer_json)
    return replace(image, end_tokens=checkpoint.end_tokens, chat=checkpoint.chat)


def outline(architecture: Architecture, config: Any, name: str, packing: str = "2b") -> Image:
    """The image of a model of these sizes whose numbers are all 1, at once, however large it is.

    It has no hash. Its program, shapes and map are all that sizes and cycles depend on.
    """
    shapes = architecture.expected_shapes(config)
    packed = architecture.files.codes(config)
    ones = {
        name: np.broadcast_to(np.int8(1) if name in packed else np.float32(1), shape)
        for name, shape in shapes.items()
    }
    builder = Builder(name, packing)
    architecture.write_program(builder, config, ones)
    return builder.bare()


class _Watched(Mapping[str, Tensor]):
    """Tensors, each of which is told when it is read first.

    `following` has the large ones in order: `thread` reads the next while one is used.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        progress: Progress,
        thread: ThreadPoolExecutor,
        following: Mapping[str, str],
    ) -> None:
        self._tensors, self._progress = tensors, progress
        self._thread, self._following = thread, following
        self._told: set[str] = set()
        self._coming: tuple[str, Future[Tensor]] | None = None

    def __getitem__(self, name: str) -> Tensor:
        if self._coming and self._coming[0] == name:
            tensor = self._coming[1].result()
        else:
            tensor = self._tensors[name]
        if name in self._following:
            after = self._following[name]
            self._coming = after, self._thread.submit(self._tensors.__getitem__, after)
        if name not in self._told:
            self._told.add(name)
            self._progress(tensor.size)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
