"""Small tokenizers of every layout in use, built by the library."""

import json
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from setun.firmware.models.tokenizer import Tokenizer

SPECIALS = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{k:02X}>" for k in range(256)]
SPACE = "▁"
SIZE = 400  # vocabulary of a model; ids beyond the tokenizer's have no token
WORDS = ["<unk>", "to", "be", "n't", ".", ",", "?", "'", "s", "##t", "##s", "do", "not", "é"]


def _made(inner: tokenizers.Tokenizer, **parts: Any) -> Tokenizer:
    return Tokenizer.from_json(_with(inner, **parts), SIZE)


def _with(inner: tokenizers.Tokenizer, **parts: Any) -> str:
    for name, part in parts.items():
        setattr(inner, name, part)
    return inner.to_str()


def _ids(pieces: list[str]) -> dict[str, int]:
    return {piece: k for k, piece in enumerate(pieces)}


def _pieces(fallback: bool, *more: str) -> list[str]:
    return [*SPECIALS, *BYTES * fallback, *"▁\nabceht,é", *more]


def _specials(inner: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    inner.add_special_tokens(SPECIALS)
    return inner


def _bos() -> processors.TemplateProcessing:
    return processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])


def pairs(fallback: bool = True, ignore: tuple[str, ...] = ()) -> tokenizers.Tokenizer:
    """BPE with words that begin with U+2581; bytes for what has no token."""
    pieces = [p for p in _pieces(fallback, "▁a", "th", "the", "▁the") if p not in ignore]
    merges = [("▁", "a"), ("t", "h"), ("th", "e"), ("▁", "the")]
    model = models.BPE(
        _ids(pieces), merges, unk_token="<unk>", byte_fallback=fallback, fuse_unk=True
    )
    return _specials(tokenizers.Tokenizer(model))


def unigram(fallback: bool) -> tokenizers.Tokenizer:
    """Unigram with words that begin with U+2581."""
    pieces = _pieces(fallback, "▁a", "the", "▁the")
    scores = [(piece, -10.0 + len(piece)) for piece in pieces]
    return _specials(tokenizers.Tokenizer(models.Unigram(scores, 0, byte_fallback=fallback)))


def llama_json() -> str:
    """Llama's, which MatMul-free LMs use: a normalizer prepends the first word's space."""
    back = [
        decoders.Replace(SPACE, " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]
    return _with(
        pairs(ignore=("\n", "é")),
        normalizer=normalizers.Sequence(
            [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
        ),
        post_processor=_bos(),
        decoder=decoders.Sequence(back),
    )


def gemma() -> Tokenizer:
    """Byte fallback, and no space before the first word."""
    back = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    return _made(
        pairs(),
        normalizer=normalizers.Replace(" ", SPACE),
        post_processor=_bos(),
        decoder=decoders.Sequence(back),
    )


def metaspace(inner: tokenizers.Tokenizer, scheme: str, fallback: bool = False) -> Tokenizer:
    """SentencePiece as a pre-tokenizer; `scheme` says which word has a space before it."""
    back: Any = decoders.Metaspace(prepend_scheme=scheme)
    if fallback:
        back = decoders.Sequence([decoders.ByteFallback(), back])
    return _made(inner, pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme=scheme), decoder=back)


def bytelevel(prefix: bool) -> Tokenizer:
    """GPT-2's: a character of the vocabulary for each byte, with some merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = _ids([*SPECIALS, *alphabet, "Ġa", "th", "the", "Ã©"])
    merges = [("Ġ", "a"), ("t", "h"), ("th", "e"), ("Ã", "©")]
    inner = _specials(tokenizers.Tokenizer(models.BPE(vocabulary, merges)))
    inner.add_tokens(["naïve word", " é"])
    return _made(
        inner,
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=prefix),
        decoder=decoders.ByteLevel(),
    )


def wordpiece(cleanup: bool) -> Tokenizer:
    """BERT's."""
    inner = _specials(tokenizers.Tokenizer(models.WordPiece(_ids(WORDS), unk_token="<unk>")))
    return _made(
        inner,
        normalizer=normalizers.BertNormalizer(lowercase=False),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
        decoder=decoders.WordPiece(cleanup=cleanup),
    )


def words() -> Tokenizer:
    """Words with a space between them, no decoder."""
    inner = tokenizers.Tokenizer(models.WordLevel(_ids(WORDS), unk_token="<unk>"))
    return _made(inner, pre_tokenizer=pre_tokenizers.Whitespace())


def suffixes() -> Tokenizer:
    """The first BPE: the end of a word is marked."""
    pieces = ["<unk>", "a", "b", "a</w>", "ab</w>", "</w>", "b</w>"]
    model = models.BPE(_ids(pieces), [("a", "b</w>")], unk_token="<unk>", end_of_word_suffix="</w>")
    return _made(
        tokenizers.Tokenizer(model),
        pre_tokenizer=pre_tokenizers.WhitespaceSplit(),
        decoder=decoders.BPEDecoder(),
    )


def speech() -> Tokenizer:
    """CTC: repeated tokens count once."""
    model = models.WordLevel(_ids(["<pad>", "|", "a", "b", "'", "s"]), unk_token="<pad>")
    return _made(tokenizers.Tokenizer(model), decoder=decoders.CTC())


def characters() -> Tokenizer:
    """A token for each character."""
    return _made(
        tokenizers.Tokenizer(models.BPE(_ids(list("\n abcehté.")), [])), decoder=decoders.Fuse()
    )


def odd(decoder: dict[str, Any] | None) -> Tokenizer:
    """Pieces that decoders treat in some way of their own, behind a decoder given as JSON."""
    pieces = [*"ab ▁Ġ|é'", "", "  ", " a ", "▁▁a", "##a", "a</w>", "<pad>", " 's", "aba", "Ã", "©"]
    pieces += ["<0x61>", "<0xC3>", "<0xA9>", "<0x+a>", "<0xZZ>", "<0x1>", "<s>"]
    model = {"type": "WordLevel", "vocab": _ids(pieces), "unk_token": ""}
    special = {"id": len(pieces) - 1, "content": "<s>", "special": True}
    special |= {key: False for key in ("single_word", "lstrip", "rstrip", "normalized")}
    description = {"version": "1.0", "added_tokens": [special], "model": model, "decoder": decoder}
    return Tokenizer.from_json(json.dumps(description), SIZE)


LAYOUTS = {
    "llama": Tokenizer.from_json(llama_json(), SIZE),
    "gemma": gemma(),
    "characters": characters(),
    "bytelevel": bytelevel(prefix=False),
    "bytelevel-prefix": bytelevel(prefix=True),
    "words": words(),
    "wordpiece": wordpiece(cleanup=True),
    "wordpiece-plain": wordpiece(cleanup=False),
    "suffixes": suffixes(),
    "speech": speech(),
    **{f"bpe-{scheme}": metaspace(pairs(False), scheme) for scheme in ("always", "first", "never")},
    **{f"unigram-{s}": metaspace(unigram(False), s) for s in ("always", "first", "never")},
    "unigram-bytes": metaspace(unigram(True), "always", fallback=True),
}
