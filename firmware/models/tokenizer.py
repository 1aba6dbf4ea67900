"""Text to token ids and back, through the model's own tokenizer.json.

A thin layer over the ``tokenizers`` library that refuses what the library passes over in
silence: characters it drops or maps to "unknown", and vocabularies larger than the model's.
"""

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import tokenizers

from setun.firmware.errors import SetunError

T = TypeVar("T")
THING = "tokenizer.json"
REPLACEMENT = "\ufffd"


class Tokenizer:
    """A tokenizer for a model of `vocab_size` tokens; made by `from_json`.

    Members
    -------
    decoder
        How the library makes text of tokens, as tokenizer.json has it; None for spaces between
        them.
    """

    def __init__(self, text: str, vocab_size: int) -> None:
        description = json.loads(text)
        self._description = description
        self._unknown = unknown = _unknown_token(description["model"])
        self._inner = inner = _built(text)
        self._unknown_id = None if unknown is None else inner.token_to_id(unknown)
        added = inner.get_added_tokens_decoder().values()
        self._specials = {token.content for token in added if token.special}
        self.vocab_size = vocab_size
        self.decoder: dict[str, Any] | None = description.get("decoder")

    @classmethod
    def from_json(cls, text: str, vocab_size: int) -> "Tokenizer":
        """Read the text of a tokenizer.json.

        What it says of training alone is off: truncation, padding, dropout. A model may have
        more ids than the tokenizer (padded vocabularies); not fewer, but for added tokens that
        are never read nor produced.

        Raises
        ------
        SetunError
            The text describes no tokenizer, or one with an id that the model lacks.
        """
        try:
            made = cls(text, vocab_size)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise SetunError(THING, "must describe a tokenizer", error) from error
        vocabulary = made._inner.get_vocab(with_added_tokens=False)
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
        return made

    def encode(self, text: str, *, begins: bool = True) -> list[int]:
        """Ids of a text.

        One that `begins` has what the tokenizer puts before a text: special tokens (Llama's BOS)
        and the space of a first word. One that goes on from another has neither.

        Raises
        ------
        SetunError
            A character is outside the vocabulary; names it and its position from 0. A token is
            outside the model.
        """
        for position, character in enumerate(text):
            if "\ud800" <= character <= "\udfff":
                raise _outside(text, position)
        inner = self._inner if begins else self._continuing
        encoding = guarded(inner.encode, text, add_special_tokens=begins)
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
        for token in encoding.ids:
            if token >= self.vocab_size:
                raise SetunError(
                    "text",
                    f"tokens must be the model's, ids below {self.vocab_size}",
                    f"{self._inner.id_to_token(token)!a} with id {token}",
                    "remove it",
                )
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
            self._check(token)
        return guarded(self._inner.decode, [int(token) for token in ids])

    def piece(self, token: int) -> str | None:
        """What the vocabulary has for an id; None for special tokens and where it has nothing.

        Raises
        ------
        SetunError
            The id is not the model's.
        """
        self._check(token)
        piece = guarded(self._inner.id_to_token, int(token))
        return None if piece is None or piece in self._specials else str(piece)

    @cached_property
    def _continuing(self) -> tokenizers.Tokenizer:
        """The tokenizer for text that does not begin where it begins."""
        parts = {
            "normalizer": _continued(self._description.get("normalizer"), "normalizers"),
            "pre_tokenizer": _continued(self._description.get("pre_tokenizer"), "pretokenizers"),
        }
        return _built(json.dumps(self._description | parts))

    def _check(self, token: int) -> None:
        if not 0 <= token < self.vocab_size:
            raise SetunError("token id", f"must be 0 to {self.vocab_size - 1}", token)

    def _keeps(self, character: str) -> bool:
        """Whether the character gives tokens; those between words may vanish by design."""
        if character.isspace() and (self._inner.pre_tokenizer or self._inner.normalizer):
            return True
        return bool(guarded(self._inner.encode, character, add_special_tokens=False).ids)


def _built(text: str) -> tokenizers.Tokenizer:
    """The library's tokenizer, without what is for training alone."""
    inner = guarded(tokenizers.Tokenizer.from_str, text)
    inner.no_truncation()
    inner.no_padding()
    if isinstance(inner.model, tokenizers.models.BPE):
        inner.model.dropout = None
    return inner


def _continued(part: dict[str, Any] | None, parts: str) -> dict[str, Any] | None:
    """A normalizer or pre-tokenizer that adds and removes nothing where a text begins.

    Behind another pre-tokenizer it is each word that gets a space, so that stays.
    """
    if part is None:
        return None
    kind = part.get("type")
    if kind == "Sequence" and parts == "normalizers":
        inner = [_continued(each, parts) for each in part[parts]]
        return part | {parts: [each for each in inner if each is not None]}
    if kind == "Sequence" and part[parts]:
        return part | {parts: [_continued(part[parts][0], parts), *part[parts][1:]]}
    if kind == "Prepend":
        return None
    if kind == "Strip":
        return part | {"strip_left": False}
    if kind == "Metaspace":
        return part | {"prepend_scheme": "never", "add_prefix_space": False}
    if kind == "ByteLevel":
        return part | {"add_prefix_space": False}
    return part


def _unknown_token(model: dict[str, Any]) -> str | None:
    """The text of the "unknown" token; Unigram models give its id instead."""
    unknown = model.get("unk_token")
    if unknown is None and model.get("unk_id") is not None:
        unknown = model["vocab"][model["unk_id"]][0]
    return None if unknown is None else str(unknown)


def guarded(function: Callable[..., T], *arguments: Any, **options: Any) -> T:
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
