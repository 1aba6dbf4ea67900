"""Tokenizers: exact round trips, and nothing dropped in silence."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.folders import DEMO, TEXT
from setun.firmware.errors import SetunError
from setun.firmware.models.tokenizer import Tokenizer

CHARACTERS = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def bpe(**changes: Any) -> dict[str, Any]:
    model = {"type": "BPE", "vocab": {c: k for k, c in enumerate(CHARACTERS)}, "merges": []}
    return {
        "version": "1.0",
        "added_tokens": [],
        "decoder": {"type": "Fuse"},
        "model": model | changes,
    }


def llama() -> dict[str, Any]:
    """A small SentencePiece-like tokenizer: byte fallback, BOS, words start with U+2581."""
    specials = ["<unk>", "<s>", "</s>"]
    pieces = specials + [f"<0x{k:02X}>" for k in range(256)] + list("▁abch") + ["▁a"]
    tokens = [
        {"id": k, "content": c, "special": True}
        | {key: False for key in ("single_word", "lstrip", "rstrip", "normalized")}
        for k, c in enumerate(specials)
    ]
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    back = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    model = {"unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True}
    model |= {"vocab": {c: k for k, c in enumerate(pieces)}, "merges": ["▁ a"]}
    return bpe(**model) | {
        "added_tokens": tokens,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": "▁"}, space],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, sequence],
            "pair": [sequence],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, strip],
        },
    }


CHARS = Tokenizer.from_json(json.dumps(bpe()), 65)
LLAMA = Tokenizer.from_json(json.dumps(llama()), 300)


def test_demo_model() -> None:
    folder = DEMO
    tokenizer = Tokenizer.from_json((folder / "tokenizer.json").read_text(), 65)
    text = TEXT.read_text()
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode("") == []
    assert ids[:200] == [CHARACTERS.index(c) for c in text[:200]]


@given(st.text(CHARACTERS))
def test_characters_round_trip(text: str) -> None:
    ids = CHARS.encode(text)
    assert CHARS.decode(ids) == text


@given(st.text(CHARACTERS), st.characters(exclude_characters=CHARACTERS), st.text(CHARACTERS))
def test_unknown_character_is_named(before: str, unknown: str, after: str) -> None:
    with pytest.raises(SetunError) as caught:
        CHARS.encode(before + unknown + after)
    line = str(caught.value)
    assert f"U+{ord(unknown):04X}) at position {len(before)} " in line
    assert line.isprintable()


@given(st.text("abch é😀€中", min_size=1).map(str.strip))
def test_byte_fallback_round_trip(text: str) -> None:
    ids = LLAMA.encode(text)
    assert ids[0] == 1
    assert LLAMA.decode(ids) == text


def test_unknown_token_is_refused() -> None:
    text = json.dumps(llama()).replace('"byte_fallback": true', '"byte_fallback": false')
    tokenizer = Tokenizer.from_json(text, 300)
    assert tokenizer.encode("a <unk>")[-1] == 0
    with pytest.raises(SetunError, match=r"'\\xe9' \(U\+00E9\) at position 2"):
        tokenizer.encode("a é")
    unigram = bpe(type="Unigram", unk_id=0, vocab=[["?", 0.0], ["a", -1.0], ["ab", -1.0]])
    tokenizer = Tokenizer.from_json(json.dumps(unigram), 3)
    assert tokenizer.encode("aba") == [2, 1]
    with pytest.raises(SetunError, match=r"'z'.* at position 1"):
        tokenizer.encode("az")


def test_words_may_lose_their_separators() -> None:
    words = bpe(type="WordLevel", vocab={"to": 0, "be": 1, "?": 2}, unk_token="?")
    tokenizer = Tokenizer.from_json(
        json.dumps(words | {"pre_tokenizer": {"type": "Whitespace"}}), 3
    )
    assert tokenizer.encode("to  be") == [0, 1]
    with pytest.raises(SetunError, match=r"'n'.* at position 3"):
        tokenizer.encode("to not be")


def test_ids_outside_the_model() -> None:
    for token in (-1, 65, 1 << 70):
        with pytest.raises(SetunError, match=f"0 to 64; found {token}"):
            CHARS.decode([1, token])
    assert Tokenizer.from_json(json.dumps(bpe()), 100).decode([99]) == ""


def test_vocabulary_larger_than_the_model() -> None:
    with pytest.raises(SetunError, match="vocab_size 64; found 64 for 'z'"):
        Tokenizer.from_json(json.dumps(bpe()), 64)
    with pytest.raises(SetunError, match="must have a vocabulary"):
        Tokenizer.from_json(json.dumps(bpe(vocab={})), 64)


def test_dropout_is_for_training() -> None:
    text = json.dumps(bpe(merges=["a b"], vocab={"a": 0, "b": 1, "ab": 2}, dropout=0.5))
    tokenizer = Tokenizer.from_json(text, 3)
    assert tokenizer.encode("ab" * 1000) == [2] * 1000


def test_added_tokens_beyond_the_model() -> None:
    """A [PAD] added without a row in the embedding is common, and never produced."""
    pad = {"id": 65, "content": "[PAD]", "special": True}
    pad |= {key: False for key in ("single_word", "lstrip", "rstrip", "normalized")}
    tokenizer = Tokenizer.from_json(json.dumps(bpe() | {"added_tokens": [pad]}), 65)
    assert tokenizer.encode("a") == [CHARACTERS.index("a")]
    with pytest.raises(SetunError, match=r"ids below 65; found '\[PAD\]' with id 65"):
        tokenizer.encode("a[PAD]")
    with pytest.raises(SetunError, match="token id: must be 0 to 64; found 65"):
        tokenizer.decode([65])


DAMAGED = ["", "{", "[]", "3", "{}", '{"model": null}', '{"model": {}}', "[" * 100_000, '"\ud800"']
DAMAGED += ['{"model": {"unk_id": 7, "vocab": []}}', json.dumps(bpe(type="Nothing"))]
DAMAGED += [json.dumps(bpe(vocab={"a": -1})), json.dumps(bpe(vocab={"a": 1 << 40}))]
DAMAGED += [json.dumps(bpe(merges=["q q q"])), json.dumps(bpe() | {"decoder": {"type": "?"}})]


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_tokenizers(text: str) -> None:
    with pytest.raises(SetunError, match="must describe a"):
        Tokenizer.from_json(text, 65)


@given(st.integers(0, len(json.dumps(bpe())) - 1), st.characters(codec="ascii"))
def test_any_damage_is_harmless_or_refused(place: int, character: str) -> None:
    text = json.dumps(bpe())
    try:
        tokenizer = Tokenizer.from_json(text[:place] + character + text[place + 1 :], 65)
        tokenizer.decode(tokenizer.encode("To be"))
    except SetunError as refusal:
        assert "\n" not in str(refusal)
