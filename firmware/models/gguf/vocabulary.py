"""A GGUF file's vocabulary as a tokenizer.json: byte-level BPE, and SentencePiece's of Llama."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from setun.firmware.errors import SetunError
from setun.firmware.models.chat import Chat

_UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 2, 3, 4, 5
_SPACE = "\u2581"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + r"\p{N}{1,3}" + _REST
_QWEN2 = _CONTRACTIONS + r"\p{N}" + _REST
_SPLITS: dict[str, str] = {
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "falcon3": _LLAMA3,
    "qwen2": _QWEN2,
    "gpt-2": "",
}
"""Words by `tokenizer.ggml.pre`; "" for GPT-2's, which the library has."""
_P = "tokenizer.ggml."


def tokenizer_json(values: Mapping[str, Any]) -> str | None:
    """The tokenizer.json that a file's metadata describes, None where it has no vocabulary.

    Raises
    ------
    SetunError
        The vocabulary is of a kind that is not read, or not whole.
    """
    kind = values.get(f"{_P}model", "no_vocab")
    if kind in ("no_vocab", "none"):
        return None
    if kind not in ("gpt2", "llama"):
        raise SetunError(f"{_P}model", "must be gpt2 or llama", str(kind)[:40])
    tokens = values.get(f"{_P}tokens")
    if not isinstance(tokens, list) or not tokens:
        raise SetunError(f"{_P}tokens", "must be texts", "none")
    types = _numbers(values, "token_type", len(tokens), np.ones(len(tokens), np.int64))
    vocabulary: dict[str, int] = {}
    for k, token in enumerate(tokens):
        if vocabulary.setdefault(token, k) != k and types[k] != _UNUSED:
            raise SetunError(f"{_P}tokens", "must differ", f"{token[:20]!a} twice")
    added = [
        _added(k, tokens[k], int(types[k]))
        for k in np.flatnonzero(np.isin(types, (_UNKNOWN, _CONTROL, _USER_DEFINED))).tolist()
    ]
    parts = (_byte_level if kind == "gpt2" else _sentencepiece)(values, vocabulary)
    made = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added}
    return json.dumps(made | parts | {"post_processor": _begins(values, tokens, parts)})


def end_tokens(values: Mapping[str, Any]) -> list[int]:
    """Ids that the file says end a text or a turn of a chat."""
    found = (values.get(f"{_P}{kind}_token_id") for kind in ("eos", "eot", "eom"))
    return [token for token in found if type(token) is int]


def chat(values: Mapping[str, Any]) -> Chat | None:
    """The file's chat template, None where it has none."""
    template = values.get("tokenizer.chat_template")
    if template is None:
        return None
    tokens = values.get(f"{_P}tokens")
    named = tokens if isinstance(tokens, list) else []
    ids = (values.get(f"{_P}{kind}_token_id") for kind in ("bos", "eos"))
    texts = (named[k] if type(k) is int and 0 <= k < len(named) else "" for k in ids)
    return Chat.of(template, *texts)


def _byte_level(values: Mapping[str, Any], vocabulary: Mapping[str, int]) -> dict[str, Any]:
    """GPT-2's: a character for each byte, merges in order."""
    pre = values.get(f"{_P}pre", "gpt-2")
    if pre not in _SPLITS:
        raise SetunError(f"{_P}pre", f"must be one of {', '.join(_SPLITS)}", str(pre)[:40])
    merges = values.get(f"{_P}merges")
    if not isinstance(merges, list):
        raise SetunError(f"{_P}merges", "must be texts", "none")
    pairs = []
    for merge in merges:
        blank = merge.find(" ", 1)
        if blank < 0:
            raise SetunError(f"{_P}merges", "must be pairs with a blank", f"{merge[:20]!a}")
        pairs.append([merge[:blank], merge[blank + 1 :]])
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    words: dict[str, Any] = level | {"use_regex": True}
    if pattern := _SPLITS[pre]:
        split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
        steps = [split | {"invert": False}, level | {"use_regex": False}]
        words = {"type": "Sequence", "pretokenizers": steps}
    return {
        "normalizer": {"type": "NFC"} if pre == "qwen2" else None,
        "pre_tokenizer": words,
        "decoder": level | {"use_regex": True},
        # Llama 3's takes a word that is a token as it is, whatever the merges make of it.
        "model": _bpe(vocabulary, pairs, ignore_merges=_SPLITS[pre] == _LLAMA3),
    }


def _sentencepiece(values: Mapping[str, Any], vocabulary: Mapping[str, int]) -> dict[str, Any]:
    """Llama's: the two neighbours are merged whose token has the best score, bytes elsewhere."""
    scores = _numbers(values, "scores", len(values[f"{_P}tokens"]), None)
    prefixed = values.get(f"{_P}add_space_prefix", True)
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    back: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefixed:
        back.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    before = [{"type": "Prepend", "prepend": _SPACE}] if prefixed else []
    unknown = values.get(f"{_P}unknown_token_id", 0)
    named = next((token for token, k in vocabulary.items() if k == unknown), None)
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*before, spaces]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": back},
        "model": _bpe(
            vocabulary,
            _merges(vocabulary, scores),
            byte_fallback="<0x00>" in vocabulary,
            fuse_unk=True,
            unk_token=named,
        ),
    }


def _merges(vocabulary: Mapping[str, int], scores: Any) -> list[list[str]]:
    """Every way to make a token of two, tokens of better scores first."""
    found: list[tuple[float, int, int, list[str]]] = []
    for token, k in vocabulary.items():
        for at in range(1, len(token)):
            left, right = token[:at], token[at:]
            if left in vocabulary and right in vocabulary:
                pair = [left, right]
                found.append((-float(scores[k]), vocabulary[left], vocabulary[right], pair))
    return [pair for *_, pair in sorted(found)]


def _bpe(
    vocabulary: Mapping[str, int], merges: Iterable[list[str]], **options: Any
) -> dict[str, Any]:
    usual = {"dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False}
    usual |= {"continuing_subword_prefix": None, "end_of_word_suffix": None}
    usual |= {"ignore_merges": False, **options}
    return {"type": "BPE", **usual, "vocab": dict(vocabulary), "merges": list(merges)}


def _begins(values: Mapping[str, Any], tokens: list[str], parts: Mapping[str, Any]) -> Any:
    """What puts the first token before a text, where there is one."""
    usual = values.get(f"{_P}model") == "llama" or parts["model"]["ignore_merges"]
    bos = values.get(f"{_P}bos_token_id")
    if not values.get(f"{_P}add_bos_token", usual) or type(bos) is not int:
        return None
    if not 0 <= bos < len(tokens):
        raise SetunError(f"{_P}bos_token_id", f"must be below {len(tokens)}", bos)
    first = {"SpecialToken": {"id": tokens[bos], "type_id": 0}}
    rest = {"Sequence": {"id": "A", "type_id": 0}}
    more = {"Sequence": {"id": "B", "type_id": 1}}
    special = {tokens[bos]: {"id": tokens[bos], "ids": [bos], "tokens": [tokens[bos]]}}
    single, pair = [first, rest], [first, rest, first, more]
    made = {"type": "TemplateProcessing", "single": single, "pair": pair}
    return made | {"special_tokens": special}


def _added(token: int, content: str, kind: int) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token, "content": content, "special": kind != _USER_DEFINED} | flags


def _numbers(values: Mapping[str, Any], name: str, count: int, usual: Any) -> Any:
    found = values.get(f"{_P}{name}", usual)
    if not isinstance(found, np.ndarray) or len(found) != count:
        length = len(found) if isinstance(found, np.ndarray) else "none"
        raise SetunError(f"{_P}{name}", f"must be {count} numbers", length)
    return found
