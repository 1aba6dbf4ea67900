"""Loss on a text: of the float model and of the chip's arithmetic, side by side."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.numerics.options import Numerics
from setun.sim.golden import GoldenModel

Ids = NDArray[np.integer[Any]]
Logits = NDArray[np.floating[Any]]
Progress = Callable[[int], None]

BATCH = 80
"""Windows side by side: fewer pay for Python, more spill the cache."""

LOGITS_AT_ONCE = 1 << 24
"""Logits held at a time when a whole window is computed at once."""


class BatchModel(Protocol):
    """A float reference, or `folded.FoldedModel`."""

    def forward_batch(self, ids: Ids) -> NDArray[np.float32]:
        """Logits [B, T, V] of ids [B, T], every row from a zero state."""
        ...


@dataclass(frozen=True)
class Score:
    """One model on one text."""

    loss: float
    """Mean negative log likelihood, nats a token."""
    tokens_per_second: float
    """Tokens of the text by wall-clock time."""
    top: Ids
    """Likeliest next token at every predicted place, in text order."""
    of_rows: NDArray[np.float64]
    """`loss` of each window."""


def windows(ids: Ids, window: int, tokens: int) -> tuple[Ids, NDArray[np.bool_]]:
    """The first `tokens` predictions of `ids`, cut into rows that start afresh.

    Returns
    -------
    rows
        [n, window + 1]: `window` inputs and, one to the right, their targets; the last row
        padded with zeros behind its end.
    counted
        [n, window]: which targets are part of the text.

    Raises
    ------
    SetunError
        The text is too short, or `window` or `tokens` is not positive.
    """
    if window < 1 or tokens < 1:
        raise SetunError("window and tokens", "must be at least 1", f"{window}, {tokens}")
    if len(ids) < tokens + 1:
        raise SetunError(
            "text",
            f"needs {tokens + 1} tokens to predict {tokens}",
            len(ids),
            "ask for fewer --tokens",
        )
    window = min(window, tokens)
    starts = np.arange(0, tokens, window)
    padded = np.concatenate([ids[: tokens + 1], np.zeros(window, ids.dtype)])
    rows = padded[starts[:, None] + np.arange(window + 1)]
    return rows, starts[:, None] + np.arange(window) < tokens


def score_float(
    model: BatchModel,
    rows: Ids,
    counted: NDArray[np.bool_],
    vocabulary: int,
    progress: Progress = lambda tokens: None,
) -> Score:
    """Score a model that computes whole windows; `progress` is called with tokens done."""
    clock, tally = time.perf_counter(), _Tally(counted)
    step = max(1, min(BATCH, LOGITS_AT_ONCE // (vocabulary * (rows.shape[1] - 1))))
    for k in range(0, len(rows), step):
        part = slice(k, k + step)
        tally.add((part,), model.forward_batch(rows[part, :-1]), rows[part, 1:])
        progress(int(counted[part].sum()))
    return tally.score(time.perf_counter() - clock)


def score_golden(
    image: Image,
    numerics: Numerics,
    rows: Ids,
    counted: NDArray[np.bool_],
    progress: Progress = lambda tokens: None,
    kind: type[GoldenModel] = GoldenModel,
) -> Score:
    """Score the golden model of `image`, window by window side by side, token after token.

    `kind` makes the model, one for up to `BATCH` windows; a study's has other arithmetic.
    """
    clock, tally = time.perf_counter(), _Tally(counted)
    for k in range(0, len(rows), BATCH):
        part = rows[k : k + BATCH]
        model = kind(image, numerics, batch=len(part))
        for t in range(rows.shape[1] - 1):
            model.feed(part[:, t])
            tally.add((slice(k, k + BATCH), t), model.logits(), part[:, t + 1])
            progress(int(counted[k : k + BATCH, t].sum()))
    return tally.score(time.perf_counter() - clock)


def golden_logits(
    image: Image, numerics: Numerics, ids: Ids, progress: Progress = lambda tokens: None
) -> NDArray[np.float32]:
    """Logits [B, T, V] of the golden model after each token of `ids` [B, T].

    Raises
    ------
    SetunError
        A token is outside the vocabulary.
    """
    vocabulary = image.vocab_size
    if ids.size and not 0 <= ids.min() <= ids.max() < vocabulary:
        wrong = ids[(ids < 0) | (ids >= vocabulary)][0]
        raise SetunError("token id", f"must be 0 to {vocabulary - 1}", wrong)
    out = np.empty((*ids.shape, vocabulary), np.float32)
    model = GoldenModel(image, numerics, batch=len(ids))
    for t in range(ids.shape[1]):
        model.feed(ids[:, t])
        out[:, t] = model.logits()
        progress(len(ids))
    return out


class _Tally:
    """Losses and choices, gathered in any order."""

    def __init__(self, counted: NDArray[np.bool_]) -> None:
        self.counted = counted
        self.loss = np.zeros(counted.shape)
        self.top = np.zeros(counted.shape, np.int64)

    def add(self, where: Any, logits: Logits, targets: Ids) -> None:
        top = logits.max(-1, keepdims=True)
        total = np.log(np.exp(logits - top).sum(-1)) + top[..., 0]
        chosen = np.take_along_axis(logits, targets[..., None], -1)[..., 0]
        self.loss[where] = total - chosen
        self.top[where] = logits.argmax(-1)

    def score(self, seconds: float) -> Score:
        loss = float(self.loss[self.counted].mean())
        speed = self.counted.sum() / max(seconds, 1e-9)
        of_rows = self.loss.mean(-1, where=self.counted)
        return Score(loss, float(speed), self.top[self.counted], of_rows)


def standard_error(a: Score, b: Score) -> float:
    """Standard error of the difference of two losses: what another text as long would change it by;
    NaN for a single window."""
    differences = a.of_rows - b.of_rows
    if len(differences) < 2:
        return float("nan")
    return float(differences.std(ddof=1) / len(differences) ** 0.5)


def agreement(a: Score, b: Score) -> float:
    """Share of places where two models find the same token likeliest."""
    return float(np.mean(a.top == b.top))
