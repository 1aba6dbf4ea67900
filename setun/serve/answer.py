"""An answer's text, token by token, up to where one of its stop sequences begins."""

from collections.abc import Sequence

from setun.firmware.models.decoding import StreamDecoder
from setun.firmware.models.tokenizer import Tokenizer


class Answer:
    """Makes text of tokens.

    Text that may be the beginning of a stop sequence waits until it is none; all that `feed` and
    `flush` give together is the answer.

    Parameters
    ----------
    tokenizer
        The model's; without one a token's text is its number and a blank.
    prompt
        Ids that go before.
    stops
        Texts that end the answer and are no part of it, none of them empty.

    Members
    -------
    stopped
        Whether a stop sequence has come; what is fed then gives nothing.
    """

    def __init__(
        self, tokenizer: Tokenizer | None, prompt: Sequence[int], stops: Sequence[str] = ()
    ) -> None:
        self._decoder = None if tokenizer is None else StreamDecoder(tokenizer, prompt)
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def feed(self, token: int) -> str:
        """Text that this token settles, possibly empty."""
        return self._settled(f"{token} " if self._decoder is None else self._decoder.feed(token))

    def flush(self) -> str:
        """What still waits; nothing is fed after it."""
        if self.stopped:
            return ""
        rest = self._settled("" if self._decoder is None else self._decoder.flush())
        return rest if self.stopped else rest + self._held

    def _settled(self, text: str) -> str:
        if self.stopped:
            return ""
        text = self._held + text
        found = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            return text[: min(found)]
        keep = max((_begun(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _begun(text: str, stop: str) -> int:
    """Characters at the end of `text` with which `stop` begins."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
