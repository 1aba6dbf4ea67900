"""`python -m setun.sim.studies.fidelity --text FILE`: loss of numerics over float.

A shipped model, the demo's or `--model NAME`, or a checkpoint's folder, on the last tenth of a
text, in windows of 256 from a zero state, as `setun eval --held-out` does it; `--only NAME` for few
of the numerics. tinyshakespeare gives what docs/numerics.md has.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from setun.firmware.image.image import Image
from setun.firmware.numerics.attention import Attention
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import EXACT, PRESETS, Numerics
from setun.firmware.program.machine import Step
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
PAPER = PRESETS["lmul-paper"]
NAIVE = "lmul-paper, f*h from f"
IN_ATTENTION = {f"{name} in attention alone": PRESETS[name] for name in ("lmul-paper", "lmul")}
VARIANTS: dict[str, Numerics] = PRESETS | {
    "(8,7)": Numerics(vector=Format(8, 7)),
    "(6,9)": Numerics(vector=Format(6, 9)),
    "state 7": replace(STOCHASTIC, state_rounding="nearest"),
    "stochastic, state 9": replace(STOCHASTIC, state_mantissa=9),
    "fp8, accumulate none": replace(FP8, accumulate=EXACT),
    "fp8, accumulate 16": replace(FP8, accumulate=16),
    "fp8, stochastic": replace(STOCHASTIC, activation="fp8", accumulate=FP8.accumulate),
    "lmul, segments 1": replace(LMUL, segments=1),
    "lmul, segments 2": replace(LMUL, segments=2),
    "lmul, segments 4": replace(LMUL, segments=4),
    "lmul, stochastic": replace(LMUL, state_rounding="stochastic", state_mantissa=7),
    "lmul, fp8": replace(LMUL, activation="fp8", accumulate=FP8.accumulate),
    "lmul-paper, fp8": replace(PAPER, activation="fp8", accumulate=FP8.accumulate),
    NAIVE: PAPER,
    **dict.fromkeys(IN_ATTENTION, Numerics()),
}
"""PRESETS and what tells their options apart."""


def applying(image: Image) -> list[str]:
    """Names of VARIANTS that differ for a model: those of a state need one, and so on."""
    if image.memory.cache:
        others = (name for name, numerics in VARIANTS.items() if not numerics.stochastic)
        return [name for name in others if name not in ("state 7", NAIVE)]
    return [name for name in VARIANTS if name not in IN_ATTENTION]


class NaiveModel(GoldenModel):
    """The golden model with `NaiveLMul`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.arithmetic = NaiveLMul(self.numerics)


def in_attention(numerics: Numerics) -> type[GoldenModel]:
    """The golden model with other numerics for attention's products, RoPE's too, and no others."""

    class AttentionModel(GoldenModel):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.attention = Attention(numerics)

        def rotate(self, step: Step) -> None:
            usual, self.arithmetic = self.arithmetic, self.attention.compute
            super().rotate(step)
            self.arithmetic = usual

    return AttentionModel


KINDS: dict[str, type[GoldenModel]] = {
    NAIVE: NaiveModel,
    **{name: in_attention(numerics) for name, numerics in IN_ATTENTION.items()},
}


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
    options.add_argument("--only", action="append", choices=list(VARIANTS), metavar="NUMERICS")
    arguments = options.parse_args()
    demo = shipped(arguments.model)
    text = Text(demo.held_out(arguments.text), arguments.tokens, demo)
    print(f"Float: {text.real.loss:.4f} nat a token.\n")
    print(
        table(["numerics", "loss over float", "standard error", "same likeliest token"], ()),
        flush=True,
    )
    for name, found in measured(text, arguments.only or applying(demo.image)):
        loss, agreed = f"{found.loss:+.4f}", f"{100 * found.agreement:.2f} %"
        print(line([name, loss, f"{found.error:.4f}", agreed]), flush=True)


if __name__ == "__main__":
    run(main)
