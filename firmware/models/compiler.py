"""Checkpoint to image: the architecture writes the program, the builder keeps what it needs."""

from dataclasses import replace

from setun.firmware.image.image import Image
from setun.firmware.models.checkpoint import Checkpoint
from setun.firmware.program.builder import Builder


def compile_checkpoint(checkpoint: Checkpoint, packing: str = "2b") -> Image:
    """The image of `checkpoint`; deterministic. `packing` is how weights are held and stored."""
    builder = Builder(checkpoint.name, packing)
    checkpoint.architecture.write_program(builder, checkpoint.config, checkpoint.tensors)
    image = builder.image(checkpoint.tokenizer_json)
    return replace(image, end_tokens=checkpoint.end_tokens)
