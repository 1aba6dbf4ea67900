"""Checkpoint to image: the architecture writes the program, the builder keeps what it needs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from setun.firmware.image.image import Image
from setun.firmware.models.architecture import Tensor
from setun.firmware.models.checkpoint import Checkpoint
from setun.firmware.program.builder import Builder

Progress = Callable[[int], None]


def compile_checkpoint(
    checkpoint: Checkpoint, packing: str = "2b", progress: Progress = lambda numbers: None
) -> Image:
    """The image of `checkpoint`; deterministic.

    Each tensor is read, made ternary and packed before the next: the memory that it takes is the
    image's and the largest tensor's.

    Parameters
    ----------
    packing
        How weights are held and stored.
    progress
        Called with the numbers of each tensor that is read.
    """
    builder = Builder(checkpoint.name, packing)
    tensors = _Watched(checkpoint.tensors, progress)
    checkpoint.architecture.write_program(builder, checkpoint.config, tensors)
    image = builder.image(checkpoint.tokenizer_json)
    return replace(image, end_tokens=checkpoint.end_tokens)


class _Watched(Mapping[str, Tensor]):
    """Tensors, each of which is told when it is read first."""

    def __init__(self, tensors: Mapping[str, Tensor], progress: Progress) -> None:
        self._tensors, self._progress = tensors, progress
        self._told: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._tensors[name]
        if name not in self._told:
            self._told.add(name)
            self._progress(tensor.size)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
