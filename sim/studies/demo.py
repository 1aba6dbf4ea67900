"""The shipped model and a text for the studies that need them."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from setun.firmware.checkpoint import Checkpoint, load_checkpoint
from setun.firmware.compiler import Image, compile_checkpoint
from setun.firmware.errors import SetunError
from setun.firmware.tokenizer import Tokenizer

HELD_OUT = 0.9
"""Where the part of a text begins that the shipped model was not trained on."""

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
        try:
            words = text.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SetunError(f"text {text}", "must be UTF-8 text", error) from error
        json = self.image.tokenizer_json
        assert json is not None, "the shipped model has a tokenizer"
        tokenizer = Tokenizer.from_json(json, self.image.config.vocab_size)
        return np.array(tokenizer.encode(words[int(HELD_OUT * len(words)) :]), np.int64)


def shipped() -> Demo:
    """The model in the package."""
    checkpoint = load_checkpoint(Path(str(resources.files("setun"))) / "models" / "shakespeare")
    return Demo(checkpoint, compile_checkpoint(checkpoint, "2b"))
