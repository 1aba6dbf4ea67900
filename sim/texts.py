"""Texts that losses are measured on, as token ids."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError
from setun.firmware.file_kinds import refuse_pointer
from setun.firmware.models.tokenizer import Tokenizer

TOKENS = 20_480
"""Predictions scored unless told otherwise, if the text has that many."""

WINDOW = 256
"""Tokens after which the state is reset unless told otherwise."""

SLACK = 64
"""Last ids of a text cut short that are not used: the cut may have changed them."""

HELD_OUT = 0.9
"""Where the part of a text begins that `setun train` does not train on."""


def read_text(path: Path, held_out: bool) -> str:
    """A UTF-8 text, or the last tenth of it; SetunError where it is none."""
    try:
        data = path.read_bytes()
        refuse_pointer(str(path), "must be UTF-8 text", data)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise SetunError(str(path), "must be readable", error.strerror or error) from error
    except UnicodeDecodeError as error:
        raise SetunError(str(path), "must be UTF-8 text", error) from error
    return text[int(HELD_OUT * len(text)) :] if held_out else text


def encode(tokenizer: Tokenizer, text: str, tokens: int) -> NDArray[np.int64]:
    """At least the first `tokens` ids of a text, if it has them, without encoding much more."""
    length = 2 * (tokens + SLACK)
    while length < len(text):
        ids = tokenizer.encode(text[:length])
        if len(ids) >= tokens + SLACK:
            return np.array(ids[:-SLACK], np.int64)
        length *= 2
    return np.array(tokenizer.encode(text), np.int64)
