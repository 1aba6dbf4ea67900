"""One answer to be made, and what is told of it while it comes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from setun.backends.base import Sampling
from setun.serve.answer import Answer


@dataclass(frozen=True)
class Said:
    """A token and the text that it settles; `checked` where it equals the golden model's."""

    token: int
    text: str
    checked: bool


@dataclass(frozen=True)
class Finished:
    """An answer's end: the text that was held back, and why, as the API names it."""

    text: str
    reason: str


@dataclass(frozen=True)
class Failed:
    """An answer that breaks off, and what happened."""

    error: str


News = Said | Finished | Failed


class Job:
    """An answer to be made.

    Parameters
    ----------
    prompt
        Ids of all that goes before, at least one.
    count
        Tokens at most.
    sampling
        How they are chosen.
    answer
        Makes text of them.
    verify
        Whether each is compared with the golden model's before it is told.
    deliver
        Called with each piece of news, from another thread; the last one is `Finished` or
        `Failed`. Nothing is delivered of a job that was cancelled.

    Members
    -------
    cancelled
        Set by who wants no more of it.
    cached
        Tokens of the prompt that a context had read already.
    made
        Tokens of the answer so far.
    over, outcome
        Whether it has ended, and how: "stop", "length" or "error"; "cancelled" if it never did.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        count: int,
        sampling: Sampling,
        answer: Answer,
        deliver: Callable[[News], None],
        *,
        verify: bool = False,
    ) -> None:
        self.prompt, self.count, self.sampling = list(prompt), count, sampling
        self.answer, self.verify = answer, verify
        self._deliver = deliver
        self.cancelled = self.over = False
        self.outcome = "cancelled"
        self.cached = self.made = self.tries = 0

    def tell(self, news: News) -> None:
        """Deliver, unless it is over or nobody listens."""
        if not (self.cancelled or self.over):
            if not isinstance(news, Said):
                self.over = True
                self.outcome = news.reason if isinstance(news, Finished) else "error"
            self._deliver(news)
