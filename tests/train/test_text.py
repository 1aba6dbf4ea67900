"""Texts and tokenizers: what they are split into, what is refused."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
from setun.firmware.errors import SetunError
from setun.firmware.models.tokenizer import Tokenizer
from setun.train.text import BUILDERS, prepare

WORDS = "to be, or not to be: that is the question.\n" * 40


@pytest.mark.parametrize("kind", BUILDERS)
def test_split_and_back(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "text"
    file.write_text(WORDS, encoding="utf-8")
    text = prepare(file, kind, 300, 8)
    tokenizer = Tokenizer.from_json(text.tokenizer_json, text.vocab_size)
    parts = [tokenizer.decode(ids.tolist()) for ids in (text.train, text.held_out)]
    assert "".join(parts) == WORDS
    assert len(parts[1]) == pytest.approx(len(WORDS) / 10, abs=1)
    assert text.vocab_size == {"char": len(set(WORDS)), "byte": 256}.get(kind, text.vocab_size)
    assert kind != "bpe" or 256 < text.vocab_size <= 300


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
@settings(deadline=None)
def test_any_text_comes_back(text: str) -> None:
    for kind, build in BUILDERS.items():
        built = build(text, 300)
        size = built.get_vocab_size()
        tokenizer = Tokenizer.from_json(built.to_str(), size)
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text, kind
        assert max(ids) < size


def test_a_character_of_the_end_alone_has_a_token(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_text("ab" * 500 + "é", encoding="utf-8")
    assert prepare(file, "char", 300, 8).vocab_size == 3


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "must hold text; found an empty file"),
        (b"abc", "more than a context of 8 tokens"),
        (b"x" * 60, "last tenth: must have more than a context of 8 tokens"),
        (b"\xff\xfe" * 100, "must be UTF-8"),
    ],
)
def test_refused(tmp_path: Path, data: bytes, said: str) -> None:
    file = tmp_path / "text"
    file.write_bytes(data)
    with pytest.raises(SetunError, match=said):
        prepare(file, "char", 300, 8)
