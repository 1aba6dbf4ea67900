"""Text to token ids and back, through the model's own tokenizer.json.

A thin layer over the ``tokenizers`` library that refuses what the library passes over in
silence: characters it drops or maps to "unknown", and vocabularies larger than the model's.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tokenizers

from setun.firmware.errors import SetunError

T = TypeVar("T")
THING = "tokenizer.json"
REPLACEMENT = "\ufffd"
LONGEST_PENDING = 8
"""Tokens a `StreamDecoder` holds back at most; a UTF-8 character has four bytes."""


class Tokenizer:
    """A tokenizer for a model of `vocab_size` tokens; made by `from_json`."""

    def __init__(self, inner: tokenizers.Tokenizer, vocab_size: int, unknown: str | None) -> None:
        self._inner = inner
        self._unknown = unknown
        self._unknown_id = None if unknown is None else inner.token_to_id(unknown)
        self.vocab_size = vocab_size

    @classmethod
    def from_json(cls, text: str, vocab_size: int) -> "Tokenizer":
        """Read the text of a tokenizer.json.

        A model may have more ids than the tokenizer (padded vocabularies), not fewer.

        Raises
        ------
        SetunError
            The text describes no tokenizer, or one with an id that the model lacks.
        """
        try:
            unknown = _unknown_token(json.loads(text)["model"])
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise SetunError(THING, "must describe a tokenizer", error) from error
        inner = _guarded(tokenizers.Tokenizer.from_str, text)
        vocabulary = inner.get_vocab(with_added_tokens=True)
        if not vocabulary:
            raise SetunError(THING, "must have a vocabulary", "none")
        token, top = max(vocabulary.items(), key=lambda item: item[1])
        if top >= vocab_size:
            raise SetunError(
                THING,
                f"ids must be below the model's vocab_size {vocab_size}",
                f"{top} for {token[:20]!a}",
                "it belongs to another model",
            )
        inner.no_truncation()
        inner.no_padding()
        return cls(inner, vocab_size, unknown)

    def encode(self, text: str, *, begins: bool = True) -> list[int]:
        """Ids of a text; one that `begins` has the tokenizer's special tokens (Llama's BOS).

        Raises
        ------
        SetunError
            A character is outside the vocabulary; names it and its position from 0.
        """
        for position, character in enumerate(text):
            if "\ud800" <= character <= "\udfff":
                raise _outside(text, position)
        encoding = _guarded(self._inner.encode, text, add_special_tokens=begins)
        covered = bytearray(len(text))
        for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            covered[start:end] = b"\1" * (end - start)
            if token == self._unknown_id and text[start:end] != self._unknown:
                raise _outside(text, start)
        if not all(covered):
            # Offsets after a dropped character are shifted, so they cannot say which it was.
            kept: dict[str, bool] = {}
            for position, character in enumerate(text):
                if character not in kept:
                    kept[character] = self._keeps(character)
                if not kept[character]:
                    raise _outside(text, position)
        return list(encoding.ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens left out.

        Ids of the model that the tokenizer has no token for give nothing.

        Raises
        ------
        SetunError
            An id is not the model's.
        """
        for token in ids:
            if not 0 <= token < self.vocab_size:
                raise SetunError("token id", f"must be 0 to {self.vocab_size - 1}", token)
        return _guarded(self._inner.decode, [int(token) for token in ids])

    def _keeps(self, character: str) -> bool:
        """Whether the character gives tokens; those between words may vanish by design."""
        if character.isspace() and (self._inner.pre_tokenizer or self._inner.normalizer):
            return True
        return bool(_guarded(self._inner.encode, character, add_special_tokens=False).ids)


class StreamDecoder:
    """Turns ids into text one at a time, for printing as they come.

    Holds a token back while it ends inside a UTF-8 character, and decodes each token behind
    its predecessor, since a first token may print without its leading space.

    Parameters
    ----------
    tokenizer
        The model's tokenizer.
    context
        Ids already shown, the prompt: not printed again.
    """

    def __init__(self, tokenizer: Tokenizer, context: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._shown = list(context)[-LONGEST_PENDING:]
        self._pending: list[int] = []

    def feed(self, token: int) -> str:
        """Text that this id completes, possibly empty."""
        self._pending.append(token)
        text = self._pending_text()
        if text.endswith(REPLACEMENT) and len(self._pending) < LONGEST_PENDING:
            return ""
        return self._show(text)

    def flush(self) -> str:
        """Whatever is still held back, U+FFFD for what never became a character."""
        return self._show(self._pending_text())

    def _pending_text(self) -> str:
        before = self._tokenizer.decode(self._shown)
        text = self._tokenizer.decode(self._shown + self._pending)
        if text.startswith(before):
            return text[len(before) :]
        return self._tokenizer.decode(self._pending)  # bad bytes spoilt good ones before them

    def _show(self, text: str) -> str:
        if text:  # a token without text, a special one, gives no context to the next
            self._shown = self._pending
        self._pending = []
        return text


def _unknown_token(model: dict[str, Any]) -> str | None:
    """The text of the "unknown" token; Unigram models give its id instead."""
    unknown = model.get("unk_token")
    if unknown is None and model.get("unk_id") is not None:
        unknown = model["vocab"][model["unk_id"]][0]
    return None if unknown is None else str(unknown)


def _guarded(function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Call into the library; a panic of its Rust code is a BaseException."""
    try:
        return function(*arguments, **options)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise SetunError(THING, "must describe a working tokenizer", error) from error


def _outside(text: str, position: int) -> SetunError:
    character = text[position]
    return SetunError(
        "text",
        "characters must be in the model's vocabulary",
        f"{character!a} (U+{ord(character):04X}) at position {position}",
        "remove or replace it",
    )
