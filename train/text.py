"""The text: read, split into what is trained on and what is held out, turned into token ids."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray

from setun.firmware.errors import SetunError
from setun.firmware.models.tokenizer import Tokenizer
from setun.sim.texts import HELD_OUT, read_text

LARGEST_BPE = 16_384
KINDS = ("char", "byte", "bpe")


@dataclass(frozen=True)
class Text:
    """A text as token ids, and what made them.

    `train` and `held_out` [n] are ids of the first nine tenths of the characters and of the rest;
    `tokenizer_json` the tokenizer, whose merges come from the first part alone; `sha256` is of the
    file's bytes.
    """

    train: NDArray[np.int64]
    held_out: NDArray[np.int64]
    tokenizer_json: str
    vocab_size: int
    sha256: str


def _vocabulary(symbols: list[str]) -> dict[str, int]:
    return {symbol: number for number, symbol in enumerate(symbols)}


def characters(text: str, size: int) -> tokenizers.Tokenizer:
    """A token for each character of the text; what is not in it has none."""
    symbols = sorted(set(text))
    built = tokenizers.Tokenizer(tokenizers.models.BPE(_vocabulary(symbols), []))
    built.decoder = tokenizers.decoders.Fuse()
    return built


def utf8_bytes(text: str, size: int) -> tokenizers.Tokenizer:
    """A token for each byte of UTF-8: 256, and no text is outside."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    built = tokenizers.Tokenizer(tokenizers.models.BPE(_vocabulary(alphabet), []))
    built.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    built.decoder = tokenizers.decoders.ByteLevel()
    return built


def byte_pairs(text: str, size: int) -> tokenizers.Tokenizer:
    """Byte-level BPE of at most `size` tokens, trained on the text."""
    built = tokenizers.Tokenizer(tokenizers.models.BPE())
    built.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    built.train_from_iterator(text.splitlines(keepends=True), trainer)
    return built


BUILDERS: dict[str, Callable[[str, int], tokenizers.Tokenizer]] = {
    "char": characters,
    "byte": utf8_bytes,
    "bpe": byte_pairs,
}


def prepare(path: Path, kind: str, size: int, context: int, given: str | None = None) -> Text:
    """Read, split, tokenise; `given` is a tokenizer to take instead of building one.

    Raises
    ------
    SetunError
        The file is no UTF-8 text, is empty, one of its parts is shorter than a context, or the
        given tokenizer has no token for a character.
    """
    text = read_text(path, held_out=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    if not text:
        raise SetunError(str(path), "must hold text", "an empty file")
    cut = int(HELD_OUT * len(text))
    first, rest = text[:cut], text[cut:]
    # A character that only the end has must have a token too, untrained as it stays.
    built = given or BUILDERS[kind](text if kind == "char" else first, size).to_str()
    count = len(json.loads(built)["model"]["vocab"])
    tokenizer = Tokenizer.from_json(built, count)
    ids = [np.array(tokenizer.encode(part), np.int64) for part in (first, rest)]
    for part, name in zip(ids, ("first nine tenths", "last tenth"), strict=True):
        if len(part) < context + 1:
            raise SetunError(
                f"{path}: {name}",
                f"must have more than a context of {context} tokens",
                len(part),
                "a longer text, or a shorter --context",
            )
    return Text(ids[0], ids[1], built, count, digest)
