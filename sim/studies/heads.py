"""`python -m setun.sim.studies.heads --text FILE [--tokens N]`: a float head in five planes.

The shipped model's head is ternary from training. A float one is fitted in its place, on what the
chip's arithmetic makes of the last tenth of a text behind the N tokens that it is scored on (the
model knows the rest by heart): as it is, in five planes, and made ternary; windows of 256 from a
zero state. tinyshakespeare gives the figures of docs/numerics.md.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.numerics.options import Numerics
from setun.firmware.numerics.ternary import absmean
from setun.firmware.program.builder import FIVE_TRITS, TERNARY
from setun.programs import line, parser, run, step, table
from setun.sim.evaluate import score_golden, windows
from setun.sim.golden import GoldenModel
from setun.sim.studies.demo import Demo, Ids, shipped
from setun.sim.texts import TOKENS, WINDOW

HEAD = "lm_head"
FITTED = 160 * WINDOW
"""Tokens that the head is fitted on."""
STEPS, RATE, DECAY = 150, 0.01, 0.02
"""Of Adam on all of them, the rate falling to 0; weight decay, of the rate."""

Array = NDArray[np.float32]


class Inputs:
    """What the head of a model sees: codes times scale, [tokens, n], and the next token."""

    def __init__(self, demo: Demo, ids: Ids, tokens: int) -> None:
        rows, counted = windows(ids, WINDOW, tokens)
        held: dict[str, NDArray[Any]] = {}

        def trace(tensor: str, unit: str, values: NDArray[Any]) -> None:
            if tensor == HEAD and unit in ("codes", "scale"):
                held[unit] = values

        model = GoldenModel(demo.image, Numerics(), batch=len(rows), trace=trace)
        seen = []
        for at in range(WINDOW):
            model.feed(rows[:, at])
            model.logits()
            seen.append(held["codes"] * held["scale"] / 127.0)
        self.x = np.stack(seen, 1)[counted].astype(np.float32)
        self.following = rows[:, 1:][counted]

    def loss(self, weights: Array) -> float:
        """Nats a token of a head [vocabulary, n], in float."""
        return float(_losses(self.x @ weights.T, self.following).mean())


def _losses(logits: Array, following: NDArray[Any]) -> NDArray[np.float64]:
    logits = logits - logits.max(1, keepdims=True)
    whole = np.log(np.exp(logits).sum(1, dtype=np.float64))
    return np.asarray(whole - logits[np.arange(len(logits)), following])


def fit(inputs: Inputs, weights: Array) -> Array:
    """The head that fits best, from `weights` on."""
    x, w = inputs.x, weights.copy()
    one, two = np.zeros_like(w), np.zeros_like(w)
    target = np.zeros((len(x), len(w)), np.float32)
    target[np.arange(len(x)), inputs.following] = 1.0
    for number in range(1, STEPS + 1):
        logits = x @ w.T
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        gradient = (p - target).T @ x / len(x)
        one += 0.1 * (gradient - one)
        two += 0.01 * (gradient**2 - two)
        rate = RATE * (1 - number / (STEPS + 1)) * np.abs(weights).mean()
        w -= rate * one / (1 - 0.9**number) / (np.sqrt(two / (1 - 0.99**number)) + 1e-9)
        w -= rate * DECAY * w
    return w


def heads(demo: Demo, text: Path, tokens: int) -> Iterator[tuple[str, float]]:
    """Losses of heads by name, nats a token; the first is the shipped one's."""
    step("inputs of the head")
    held_out = demo.held_out(text)
    known, unknown = Inputs(demo, held_out[tokens:], FITTED), Inputs(demo, held_out, tokens)
    codes, scale = absmean(demo.checkpoint.tensors[f"{HEAD}.weight"])
    shipped_head = codes * scale
    step("fit")
    fitted = fit(known, shipped_head)
    tensors = {**demo.checkpoint.tensors, f"{HEAD}.weight": fitted}
    checkpoint = replace(demo.checkpoint, tensors=tensors)
    rows, counted = windows(held_out, WINDOW, tokens)

    def golden(image: Any) -> float:
        return score_golden(image, Numerics(), rows, counted).loss

    yield "ternary from training, as shipped", golden(demo.image)
    yield "float, fitted", unknown.loss(fitted)
    yield "the same in five planes", golden(compile_checkpoint(checkpoint, head=FIVE_TRITS))
    yield "the same made ternary", golden(compile_checkpoint(checkpoint, head=TERNARY))


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--text", type=Path, required=True, metavar="FILE")
    options.add_argument("--tokens", type=int, default=TOKENS, metavar="N")
    arguments = options.parse_args()
    print(table(["head", "loss"], ()), flush=True)
    for name, loss in heads(shipped(), arguments.text, arguments.tokens):
        print(line([name, f"{loss:.5f}"]), flush=True)


if __name__ == "__main__":
    run(main)
