"""`python -m setun.sim.studies.fidelity --text FILE`: loss of numerics over float.

A shipped model, the demo's or `--model NAME`, on the last tenth of a text, in windows of 256 from a
zero state, as `setun eval --held-out` does it. tinyshakespeare gives what docs/numerics.md has.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from setun.firmware.image.image import Image
from setun.firmware.numerics.attention import Attention
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import EXACT, PRESETS, Numerics
from setun.programs import line, parser, run, step, table
from setun.sim.evaluate import (
    Score,
    agreement,
    score_float,
    score_golden,
    standard_error,
    windows,
)
from setun.sim.golden import GoldenModel
from setun.sim.reference import float_model
from setun.sim.studies.demo import Demo, Ids, shipped
from setun.sim.studies.memory import NaiveLMul
from setun.sim.texts import TOKENS, WINDOW

FP8, LMUL, STOCHASTIC = PRESETS["fp8"], PRESETS["lmul"], PRESETS["stochastic"]
NAIVE = "lmul, f*h from f"
IN_ATTENTION = "lmul in attention alone"
VARIANTS: dict[str, Numerics] = PRESETS | {
    "(8,7)": Numerics(vector=Format(8, 7)),
    "(6,9)": Numerics(vector=Format(6, 9)),
    "state 7": replace(STOCHASTIC, state_rounding="nearest"),
    "stochastic, state 9": replace(STOCHASTIC, state_mantissa=9),
    "fp8, accumulate none": replace(FP8, accumulate=EXACT),
    "fp8, accumulate 16": replace(FP8, accumulate=16),
    "fp8, stochastic": replace(STOCHASTIC, activation="fp8", accumulate=FP8.accumulate),
    "lmul, stochastic": replace(STOCHASTIC, multiplier="lmul"),
    "lmul, fp8": replace(FP8, multiplier="lmul"),
    NAIVE: LMUL,
    IN_ATTENTION: Numerics(),
}
"""PRESETS and what tells their options apart."""


def applying(image: Image) -> list[str]:
    """Names of VARIANTS that differ for a model: those of a state need one, and so on."""
    if image.memory.cache:
        others = (name for name, numerics in VARIANTS.items() if not numerics.stochastic)
        return [name for name in others if name not in ("state 7", NAIVE)]
    return [name for name in VARIANTS if name != IN_ATTENTION]


class NaiveModel(GoldenModel):
    """The golden model with `NaiveLMul`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.arithmetic = NaiveLMul(self.numerics)


class AttentionModel(GoldenModel):
    """The golden model with L-Mul for attention's product, and there alone."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.attention = Attention(LMUL)


KINDS = {NAIVE: NaiveModel, IN_ATTENTION: AttentionModel}


@dataclass(frozen=True)
class Fidelity:
    """Numerics against float on one text."""

    loss: float
    """More than float's, nats a token."""
    error: float
    """Standard error of `loss`, over the windows."""
    agreement: float
    """Share of places with the same likeliest token."""


class Text:
    """A model, the demo's unless told, and `tokens` predictions of a text, scored in float once."""

    def __init__(self, ids: Ids, tokens: int = TOKENS, demo: Demo | None = None) -> None:
        demo = demo or shipped()
        self.image = demo.image
        self.rows, self.counted = windows(ids, WINDOW, tokens)
        self.real: Score = score_float(
            float_model(demo.checkpoint), self.rows, self.counted, self.image.vocab_size
        )

    def fidelity(self, name: str) -> Fidelity:
        """Figures of the numerics that VARIANTS has under a name."""
        kind = KINDS.get(name, GoldenModel)
        score = score_golden(self.image, VARIANTS[name], self.rows, self.counted, kind=kind)
        error = standard_error(score, self.real)
        return Fidelity(score.loss - self.real.loss, error, agreement(self.real, score))


def measured(text: Text, names: Iterable[str]) -> Iterator[tuple[str, Fidelity]]:
    """`Text.fidelity` of names, with a word on stderr for each."""
    for name in names:
        step(name)
        yield name, text.fidelity(name)


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--text", type=Path, required=True, metavar="FILE")
    options.add_argument("--model", default="shakespeare", metavar="NAME")
    options.add_argument("--tokens", type=int, default=TOKENS, metavar="N")
    arguments = options.parse_args()
    demo = shipped(arguments.model)
    text = Text(demo.held_out(arguments.text), arguments.tokens, demo)
    print(f"Float: {text.real.loss:.4f} nat a token.\n")
    print(
        table(["numerics", "loss over float", "standard error", "same likeliest token"], ()),
        flush=True,
    )
    for name, found in measured(text, applying(demo.image)):
        loss, agreed = f"{found.loss:+.4f}", f"{100 * found.agreement:.2f} %"
        print(line([name, loss, f"{found.error:.4f}", agreed]), flush=True)


if __name__ == "__main__":
    run(main)
