"""Text of token ids as they come, equal to what the library decodes from all of them at once.

The ``tokenizers`` library decodes whole lists only, in the stages that a tokenizer.json names. A
`StreamDecoder` runs the same stages on one token after another; what a later token may still
change waits in the stage that would change it.
"""

import codecs
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Protocol

import tokenizers

from setun.firmware.models.tokenizer import REPLACEMENT, Tokenizer, guarded

Spec = dict[str, Any]  # a decoder as tokenizer.json has it
Local = Callable[[list[str]], str]  # the library's decoder of one stage


class StreamDecoder:
    """Turns ids into text one at a time, for printing as they come.

    All that `feed` and `flush` give together is ``decode(context + ids)`` without its first
    ``len(decode(context))`` characters. Unfinished characters wait, and so do byte tokens until
    another token follows, for the library takes all bytes of a run back if one does not fit.

    Parameters
    ----------
    tokenizer
        The model's tokenizer.
    context
        Ids already shown, the prompt: not printed again.
    """

    def __init__(self, tokenizer: Tokenizer, context: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._stages = _stages(tokenizer.decoder)
        self._hidden = len(tokenizer.decode(context))
        for token in context:
            self.feed(token)

    def feed(self, token: int) -> str:
        """Text that this id completes, possibly empty.

        Raises
        ------
        SetunError
            The id is not the model's.
        """
        piece = self._tokenizer.piece(token)
        return "" if piece is None else self._shown(_through(self._stages, [piece]))

    def flush(self) -> str:
        """Whatever is still held back; nothing is fed after it."""
        items: Iterable[str] = ()
        for stage in self._stages:
            items = [*_through([stage], items), *guarded(stage.end)]
        self._stages = []
        return self._shown(items)

    def _shown(self, items: Iterable[str]) -> str:
        text = "".join(items)
        hidden = min(self._hidden, len(text))
        self._hidden -= hidden
        return text[hidden:]


class _Stage(Protocol):
    """A part of the decoder; takes and gives tokens, or pieces of one text."""

    def feed(self, item: str) -> Iterable[str]:
        """What is settled once `item` has come."""

    def end(self) -> Iterable[str]:
        """What is settled once nothing more comes."""


def _through(stages: Sequence[_Stage], items: Iterable[str]) -> Iterable[str]:
    for stage in stages:
        items = [done for item in items for done in guarded(stage.feed, item)]
    return items


def _stages(spec: Spec | None) -> list[_Stage]:
    if spec is None:
        return [_Spaced()]
    stages: list[_Stage] = []
    joined = False  # tokens are one text from here on
    for part in _flat(spec):
        stages.append((_text_stage if joined else _token_stage)(part))
        joined |= part["type"] in ("Fuse", "ByteLevel")
    return stages


def _flat(spec: Spec) -> Iterator[Spec]:
    if spec["type"] == "Sequence":
        for part in spec["decoders"]:
            yield from _flat(part)
    else:
        yield spec


def _token_stage(spec: Spec) -> _Stage:
    kind = spec["type"]
    if kind == "Fuse":
        return _Each("".join)
    if kind == "ByteLevel":
        return _ByteLevel()
    if kind == "ByteFallback":
        return _ByteFallback()
    if kind == "BPEDecoder":
        return _LastDiffers(spec.get("suffix", "</w>"))
    if kind in ("WordPiece", "Metaspace"):
        return _FirstDiffers(_library(spec))
    if kind == "CTC":
        return _Deduplicated(_library(spec))
    if kind in ("Replace", "Strip"):
        return _Each(_library(spec))
    return _Whole(_library(spec))


def _text_stage(spec: Spec) -> _Stage:
    kind = spec["type"]
    if kind == "Fuse":
        return _Each("".join)
    if kind == "Metaspace":
        return _Each(_library(spec))
    if kind == "Strip":
        return _Ends(spec["content"], spec["start"], spec["stop"])
    if kind == "Replace" and spec["pattern"].get("String"):
        return _Replaced(spec["pattern"]["String"], spec["content"])
    decode = _library(spec)
    return _Whole(lambda pieces: decode(["".join(pieces)]))


def _library(spec: Spec) -> Local:
    """The library's own decoder of one stage."""
    model = {"type": "WordLevel", "vocab": {}, "unk_token": ""}
    text = json.dumps({"version": "1.0", "model": model, "decoder": spec})
    decode: Local = tokenizers.Tokenizer.from_str(text).decoder.decode
    return decode


class _Each:
    """Each item on its own."""

    def __init__(self, decode: Local) -> None:
        self._decode = decode

    def feed(self, item: str) -> Iterable[str]:
        return [self._decode([item])]

    def end(self) -> Iterable[str]:
        return []


class _Spaced(_Each):
    """No decoder: a space between tokens."""

    def __init__(self) -> None:
        super().__init__("".join)
        self._space = ""

    def feed(self, item: str) -> Iterable[str]:
        item, self._space = self._space + item, " "
        return [item]


class _FirstDiffers(_Each):
    """Each item on its own, the first in another way."""

    def __init__(self, decode: Local) -> None:
        super().__init__(decode)
        self._before: list[str] = []

    def feed(self, item: str) -> Iterable[str]:
        text = self._decode([*self._before, item])
        self._before = [""]  # gives no text, and makes the next not the first
        return [text]


class _Deduplicated(_Each):
    """A token that repeats its predecessor is dropped, and so is one that gives no text."""

    def __init__(self, decode: Local) -> None:
        super().__init__(decode)
        self._last: str | None = None

    def feed(self, item: str) -> Iterable[str]:
        text = "" if item == self._last else self._decode([item])
        self._last = item
        return [text] if text else []


class _LastDiffers:
    """A suffix becomes a space, but at the end nothing."""

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._last: list[str] = []

    def feed(self, item: str) -> Iterable[str]:
        before, self._last = self._last, [item]
        return [text.replace(self._suffix, " ") for text in before]

    def end(self) -> Iterable[str]:
        last, self._last = self._last, []
        return [text.replace(self._suffix, "") for text in last]


class _ByteFallback:
    """Runs of byte tokens, <0x0A>; each byte of a run that is no UTF-8 gives U+FFFD."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")()
        self._run = ""
        self._bytes = 0
        self._spoilt = False

    def feed(self, item: str) -> Iterable[str]:
        byte = _byte(item)
        if byte is None:
            return [*self.end(), item]
        self._bytes += 1
        if not self._spoilt:
            try:
                self._run += self._text.decode(byte)
            except UnicodeDecodeError:
                self._spoilt = True
        if not self._spoilt:
            return []
        marks, self._bytes = self._bytes, 0
        return [REPLACEMENT] * marks

    def end(self) -> Iterable[str]:
        unfinished = self._spoilt or self._text.getstate()[0]
        text, marks = self._run, self._bytes
        self._begin()
        return [REPLACEMENT] * marks if unfinished else [text] * bool(text)


def _byte(token: str) -> bytes | None:
    """The byte of a byte token."""
    if len(token.encode()) != 6 or not (token.startswith("<0x") and token.endswith(">")):
        return None
    digits = token[3:5]
    # The library reads a number here, which may have a sign.
    number = digits[1:] if digits[0] == "+" else digits
    return bytes([int(number, 16)]) if set(number) <= set("0123456789abcdefABCDEF") else None


class _ByteLevel:
    """A character for each byte; a token with another character stands for itself."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, item: str) -> Iterable[str]:
        table = _byte_of()
        known = all(character in table for character in item)
        return [self._text.decode(bytes(table[c] for c in item) if known else item.encode())]

    def end(self) -> Iterable[str]:
        return [self._text.decode(b"", final=True)]


@cache
def _byte_of() -> dict[str, int]:
    """The byte that each character of the library's byte-level alphabet stands for.

    Printable Latin-1 stands for itself; the others have the characters from U+0100 in order.
    """
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    own = {character: ord(character) for character in alphabet if ord(character) < 0x100}
    rest = sorted(set(range(0x100)) - set(own.values()))
    others = (character for character in alphabet if character not in own)
    return own | dict(zip(others, rest, strict=True))


class _Ends:
    """A character cut off at both ends of a text, at most `start` and `stop` times."""

    def __init__(self, character: str, start: int, stop: int) -> None:
        self._character = character
        self._start, self._stop = start, stop
        self._held = ""

    def feed(self, item: str) -> Iterable[str]:
        while item and self._start and item[0] == self._character:
            item, self._start = item[1:], self._start - 1
        if item:
            self._start = 0
        text = self._held + item
        body = text.rstrip(self._character)
        keep = max(len(body), len(text) - self._stop)
        self._held = text[keep:]
        return [text[:keep]]

    def end(self) -> Iterable[str]:
        self._held = ""
        return []


class _Replaced:
    """A string replaced by another one, wherever pieces of the text meet."""

    def __init__(self, pattern: str, content: str) -> None:
        self._pattern, self._content = pattern, content
        self._held = ""

    def feed(self, item: str) -> Iterable[str]:
        *done, tail = (self._held + item).split(self._pattern)
        lengths = range(min(len(tail), len(self._pattern) - 1), 0, -1)
        begun = next((n for n in lengths if tail.endswith(self._pattern[:n])), 0)
        self._held = tail[len(tail) - begun :]
        return [self._content.join([*done, tail[: len(tail) - begun]])]

    def end(self) -> Iterable[str]:
        held, self._held = self._held, ""
        return [held]


class _Whole:
    """Anything else: settled at the end alone."""

    def __init__(self, decode: Local) -> None:
        self._decode = decode
        self._items: list[str] = []

    def feed(self, item: str) -> Iterable[str]:
        self._items.append(item)
        return []

    def end(self) -> Iterable[str]:
        items, self._items = self._items, []
        return [self._decode(items)]
