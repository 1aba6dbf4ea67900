"""A shipped model and a text for the studies that need them."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from setun.firmware.image.image import Image
from setun.firmware.models.checkpoint import Checkpoint, load_checkpoint
from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.models.tokenizer import Tokenizer
from setun.sim.texts import read_text

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Demo:
    """A checkpoint, compiled."""

    checkpoint: Checkpoint
    image: Image

    def held_out(self, text: Path) -> Ids:
        """Token ids of the last tenth of a UTF-8 text.

        Raises
        ------
        SetunError
            The file cannot be read, is no UTF-8, or has other characters than the model.
        """
        words = read_text(text, held_out=True)
        json = self.image.tokenizer_json
        assert json is not None, "the shipped model has a tokenizer"
        tokenizer = Tokenizer.from_json(json, self.image.vocab_size)
        return np.array(tokenizer.encode(words), np.int64)


def shipped(name: str = "shakespeare") -> Demo:
    """A model in the package, or of a checkpoint's folder."""
    inside = Path(str(resources.files("setun"))) / "models" / name
    checkpoint = load_checkpoint(inside if inside.is_dir() else Path(name))
    return Demo(checkpoint, compile_checkpoint(checkpoint, "2b"))
