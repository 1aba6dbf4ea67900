"""An answer's text and its stop sequences, however the tokens fall."""

from hypothesis import given
from hypothesis import strategies as st

from setun.firmware.image.image import Image
from setun.firmware.models.tokenizer import Tokenizer
from setun.models.load import load_model
from setun.serve.answer import Answer

TEXT = st.text("ab\n", max_size=30)
STOPS = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=4)


def tokenizer() -> Tokenizer:
    image: Image = load_model("shakespeare-small")
    assert image.tokenizer_json is not None
    return Tokenizer.from_json(image.tokenizer_json, image.vocab_size)


KNOWN = tokenizer()


@given(TEXT, STOPS)
def test_text_up_to_the_first_stop(text: str, stops: list[str]) -> None:
    answer = Answer(KNOWN, [1], stops)
    found = ""
    for token in KNOWN.encode(text):
        piece = answer.feed(token)
        assert not (piece and answer.stopped and found + piece != expected(text, stops))
        found += piece
        assert text.startswith(found)
    found += answer.flush()
    assert found == expected(text, stops)
    assert answer.stopped == any(stop in text for stop in stops)


def expected(text: str, stops: list[str]) -> str:
    """What stands before the stop sequence that is complete first, and of these the longest."""
    ends = [(text.index(stop) + len(stop), text.index(stop)) for stop in stops if stop in text]
    if not ends:
        return text
    first = min(end for end, _ in ends)
    return text[: min(start for end, start in ends if end == first)]


def test_without_a_tokenizer() -> None:
    answer = Answer(None, [1], ["2 3"])
    assert [answer.feed(token) for token in (1, 2, 4, 2, 3)] == ["1 ", "", "2 4 ", "", ""]
    assert answer.stopped and answer.flush() == ""
