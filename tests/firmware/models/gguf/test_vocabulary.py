"""Vocabularies of GGUF files against the tokenizers that they were made of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from firmware.models.gguf.test_gguf import small
from firmware.models.gguf.writing import write
from firmware.models.layouts import SPECIALS, bytelevel, llama_json
from firmware.models.test_chat import CHATML
from setun.firmware.errors import SetunError
from setun.firmware.models.checkpoint import load_checkpoint
from setun.firmware.models.gguf.vocabulary import chat, end_tokens, tokenizer_json
from setun.firmware.models.tokenizer import Tokenizer

P = "tokenizer.ggml."
SIZE = 400


def values_of(text: str, model: str, **more: Any) -> dict[str, Any]:
    """What llama.cpp's converter writes of a tokenizer.json with BPE."""
    read = json.loads(text)
    vocabulary = read["model"]["vocab"] | {t["content"]: t["id"] for t in read["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    kinds = np.ones(len(tokens), np.int32)
    for token in read["added_tokens"]:
        kinds[token["id"]] = 3 if token["special"] else 4
    values: dict[str, Any] = {f"{P}model": model, f"{P}tokens": tokens, f"{P}token_type": kinds}
    pairs = [pair if isinstance(pair, list) else pair.split() for pair in read["model"]["merges"]]
    if model == "gpt2":
        values[f"{P}merges"] = [" ".join(pair) for pair in pairs]
    else:
        scores = np.full(len(tokens), -1000.0, np.float32)
        for k, pair in enumerate(pairs):
            scores[vocabulary["".join(pair)]] = -k
        values |= {f"{P}scores": scores, f"{P}unknown_token_id": 0, f"{P}bos_token_id": 1}
    return values | {f"{P}{name}": value for name, value in more.items()}


def read(values: dict[str, Any]) -> Tokenizer:
    text = tokenizer_json(values)
    assert text is not None
    return Tokenizer.from_json(text, SIZE)


BYTES = bytelevel(prefix=False)
LLAMA = Tokenizer.from_json(llama_json(), SIZE)


@given(text=st.text(alphabet="abcehtn,. é\n'1", max_size=30))
def test_the_same_ids_and_text(text: str) -> None:
    for made, want in ((BYTES_READ, BYTES), (LLAMA_READ, LLAMA)):
        ids = want.encode(text)
        assert made.encode(text) == ids
        assert made.encode(text, begins=False) == want.encode(text, begins=False)
        assert made.decode(ids) == want.decode(ids)


BYTES_READ = read(values_of(json.dumps(BYTES._description), "gpt2", pre="gpt-2"))
LLAMA_READ = read(values_of(llama_json(), "llama"))


def words(pre: str, text: str) -> list[str]:
    values = values_of(json.dumps(BYTES._description), "gpt2", pre=pre)
    inner = tokenizers.Tokenizer.from_str(tokenizer_json(values) or "")
    return [text[slice(*span)] for _, span in inner.pre_tokenizer.pre_tokenize_str(text)]


def test_words_of_the_families() -> None:
    text = "It's 12345 tests,\n\n  AND  \u00e9t\u00e9!! "
    llama = ["It", "'s", " ", "123", "45", " tests", ",\n\n", " ", " AND", " ", " \u00e9t\u00e9"]
    assert words("llama-bpe", text) == [*llama, "!!", " "]
    assert words("falcon3", text) == words("llama-bpe", text)
    singly = ["It", "'s", " ", *"12345", *llama[5:], "!!", " "]
    assert words("qwen2", text) == singly
    assert words("gpt-2", text)[:4] == ["It", "'s", " 12345", " tests"]


def test_what_begins_a_text() -> None:
    text, bos = json.dumps(BYTES._description), SPECIALS.index("<s>")
    for more, first in (
        ({"pre": "llama-bpe", "bos_token_id": bos}, True),
        ({"pre": "llama-bpe"}, False),
        ({"pre": "llama-bpe", "bos_token_id": bos, "add_bos_token": False}, False),
        ({"pre": "qwen2", "bos_token_id": bos}, False),
        ({"pre": "qwen2", "bos_token_id": bos, "add_bos_token": True}, True),
    ):
        made = read(values_of(text, "gpt2", **more))
        ids = made.encode("the")
        assert (ids[0] == bos) == first, more
        assert made.decode(ids) == "the" and made.encode("the", begins=False) == ids[first:]


def test_words_that_are_tokens_stay_whole() -> None:
    """Llama 3's takes them though no merges lead there."""
    values = values_of(json.dumps(BYTES._description), "gpt2", pre="llama-bpe")
    values[f"{P}tokens"][values[f"{P}tokens"].index("the")] = "bee"
    values[f"{P}merges"] = values[f"{P}merges"][:2]
    whole = values[f"{P}tokens"].index("bee")
    assert read(values).encode("bee") == [whole]
    assert len(read(values | {f"{P}pre": "qwen2"}).encode("bee")) == 3


def test_no_vocabulary() -> None:
    assert tokenizer_json({}) is None
    assert tokenizer_json({f"{P}model": "no_vocab"}) is None
    assert chat({}) is None and end_tokens({}) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"model": "bert"}, "tokenizer.ggml.model: must be gpt2 or llama; found bert"),
        ({"model": 3}, "must be gpt2 or llama"),
        ({"tokens": None}, "tokenizer.ggml.tokens: must be texts"),
        ({"tokens": []}, "tokenizer.ggml.tokens: must be texts"),
        ({"tokens": ["a", "a"], "token_type": np.ones(2)}, "must differ; found 'a' twice"),
        ({"token_type": np.ones(3)}, "tokenizer.ggml.token_type: must be"),
        ({"pre": "tekken"}, "tokenizer.ggml.pre: must be one of llama-bpe"),
        ({"merges": None}, "tokenizer.ggml.merges: must be texts"),
        ({"merges": ["ab"]}, "tokenizer.ggml.merges: must be pairs"),
        ({"bos_token_id": 4000, "add_bos_token": True}, "bos_token_id: must be below"),
    ],
)
def test_defects(change: dict[str, Any], line: str) -> None:
    values = values_of(json.dumps(BYTES._description), "gpt2")
    with pytest.raises(SetunError) as caught:
        tokenizer_json(values | {f"{P}{name}": found for name, found in change.items()})
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_scores_are_needed() -> None:
    values = values_of(llama_json(), "llama")
    with pytest.raises(SetunError, match="scores: must be"):
        tokenizer_json(values | {f"{P}scores": None})


def test_file_with_a_vocabulary(tmp_path: Path) -> None:
    tokens = ["<s>", "<|im_start|>", "<|im_end|>", "<|end|>", "a", "b", "ab"]
    values, stored = small(
        **{
            f"{P}model": "gpt2",
            f"{P}pre": "qwen2",
            f"{P}tokens": tokens,
            f"{P}token_type": [3, 3, 3, 3, 1, 1, 1],
            f"{P}merges": ["a b"],
            f"{P}bos_token_id": 0,
            f"{P}eos_token_id": 3,
            "tokenizer.chat_template": CHATML,
        }
    )
    checkpoint = load_checkpoint(write(tmp_path / "m.gguf", values, stored))
    assert checkpoint.tokenizer_json is not None and checkpoint.chat is not None
    assert checkpoint.end_tokens == (2, 3) and checkpoint.chat.bos_token == "<s>"
    tokenizer = Tokenizer.from_json(checkpoint.tokenizer_json, checkpoint.config.vocab_size)
    assert tokenizer.encode("abba") == [6, 5, 4] and tokenizer.decode([6, 5, 2]) == "abb"
