"""Models ready to use, whatever a user named, and their compiled images."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from setun.firmware.errors import SetunError
from setun.firmware.image import file as image_file
from setun.firmware.image.image import Image
from setun.firmware.models.checkpoint import Checkpoint, load_checkpoint
from setun.firmware.models.compiler import compile_checkpoint, outline
from setun.firmware.models.tokenizer import Tokenizer
from setun.firmware.numerics.options import Numerics
from setun.models import find, is_checkpoint
from setun.models.random import outline_of, random_image, shape

LARGE = 1 << 26
"""Ternary weights of a checkpoint from which on it is compiled for its image alone."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A model and where it came from; its image is compiled when it is asked for."""

    path: Path
    compiled: Callable[[], Image]
    """Makes `image`; refuses models that no program says."""
    numerics: Numerics
    """What the image file was imported for; the default for a checkpoint."""
    checkpoint: Checkpoint | None
    """None when an image file was opened."""

    @cached_property
    def image(self) -> Image:
        """What a chip runs.

        Raises
        ------
        SetunError
            No program says what the model does.
        """
        return self.compiled()

    @property
    def vocab_size(self) -> int:
        """Token ids are below it."""
        return int((self.checkpoint.config if self.checkpoint else self.image).vocab_size)

    @property
    def model_hash(self) -> str | None:
        """The image's; None where no program says what the model does, or compiling takes long."""
        if self.checkpoint is not None:
            checkpoint = self.checkpoint
            if checkpoint.architecture.weights(checkpoint.config) > LARGE:
                return None
        try:
            return self.image.model_hash
        except SetunError:
            return None

    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer.

        Raises
        ------
        SetunError
            The model has none.
        """
        text = (self.checkpoint or self.image).tokenizer_json
        if text is None:
            raise SetunError(
                f"model {self.path}", "needs a tokenizer.json to read text", *self._instead()
            )
        return Tokenizer.from_json(text, self.vocab_size)

    def _instead(self) -> tuple[str, str]:
        """What a checkpoint has in place of tokenizer.json, and what to do about it."""
        for name in ("tokenizer.model", "spiece.model", "vocab.json", "vocab.txt"):
            if (self.path / name).is_file():
                saving = "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
                return name, f"transformers: {saving} writes one"
        return "none", "put one beside config.json, or give token ids"


def open_model(name: str | Path, packing: str = "2b") -> Model:
    """A model given as a shipped name, a random one's, a checkpoint folder or an image file.

    `packing` applies to checkpoints; an image file has its own. One of an older format is told on
    stderr.

    Raises
    ------
    SetunError
        There is no such model, or it is refused.
    """
    if shape(str(name)) is not None:
        random = partial(random_image, str(name), packing=packing)
        return Model(Path(name), random, Numerics(), None)
    path = find(name)
    if is_checkpoint(path):
        checkpoint = load_checkpoint(path)
        compiled = partial(compile_checkpoint, checkpoint, packing)
        return Model(path, compiled, Numerics(), checkpoint)
    file = image_file.read(path)
    if file.format != image_file.FORMAT:
        _LOG.warning("%s: image format %d; import the model again to renew it", path, file.format)
    return Model(path, lambda: file.image, file.numerics, None)


def open_outline(name: str | Path) -> Model:
    """`open_model`, but of weights that are not packed yet only the shapes are looked at.

    Sizes and cycles are the model's, numbers and hash are not; a file of weights may turn out
    damaged later.
    """
    sizes = shape(str(name))
    if sizes is not None:
        return Model(Path(name), partial(outline_of, sizes, name=str(name)), Numerics(), None)
    path = find(name)
    if not is_checkpoint(path):
        return open_model(name)
    checkpoint = load_checkpoint(path)
    drawn = partial(outline, checkpoint.architecture, checkpoint.config, checkpoint.name)
    return Model(path, drawn, Numerics(), checkpoint)


def whole_image(outlined: Model, name: str | Path) -> Image:
    """The image of a model of which `open_outline` has looked at the shapes."""
    image = outlined.image
    return image if image.model_hash else load_model(name)


def load_model(name: str | Path) -> Image:
    """The image of `open_model`."""
    return open_model(name).image
