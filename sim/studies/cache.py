"""`python -m setun.sim.studies.cache --text FILE`: what codes of a cache cost.

The shipped transformer, or `--model NAME`, on the last tenth of a text, as
`setun.sim.studies.fidelity` scores it: keys and values in the codes that a chip has, in fewer
levels, and as FP8, (1,4,3) and (1,5,2), whose exponents count from each head's largest. Queries
stay as they are.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from setun.firmware.numerics.attention import Attention, Heads
from setun.firmware.numerics.formats import Format, Values
from setun.firmware.numerics.options import Numerics
from setun.programs import line, parser, run, step, table
from setun.sim.evaluate import agreement, score_golden, standard_error
from setun.sim.golden import GoldenModel
from setun.sim.studies.demo import shipped
from setun.sim.studies.fidelity import Text
from setun.sim.texts import TOKENS

MODEL = "shakespeare-transformer"
Coding = Callable[[Values], Heads]


def in_levels(levels: int) -> Coding:
    """Heads [.., d] as whole numbers to ±`levels`, in units of each head's maximum / `levels`.

    As 2**-40 of the least power of two that holds the head, so that attention stays exact.
    """

    def coded(x: Values) -> Heads:
        top = np.abs(x).max(-1, keepdims=True)
        unit = np.where(top > 0, top, 1.0) / levels
        return _fine(np.rint(x / unit) * unit, x)

    return coded


def in_format(fmt: Format) -> Coding:
    """Heads [.., d] in a small float, the head's power of two as its highest exponent."""

    def coded(x: Values) -> Heads:
        exponent = np.frexp(np.abs(x).max(-1, keepdims=True))[1]
        highest = (1 << fmt.exponent) - 1 - fmt.bias
        inside = np.ldexp(x, highest - exponent)
        return _fine(np.ldexp(fmt.round(inside), exponent - highest), x)

    return coded


def _fine(values: Values, x: Values) -> Heads:
    """Values as whole numbers of 24 bits or fewer."""
    top = np.abs(x).max(-1)
    exponent = np.where(top > 0, np.frexp(top)[1], 0).astype(np.int64) - 23
    return Heads(np.rint(np.ldexp(values, -exponent[..., None])), exponent)


CODINGS: dict[str, Coding | int] = {
    "8 bits, powers of two: the chip's": 8,
    "6 bits, powers of two": 6,
    "5 bits, powers of two": 5,
    "five trits, the head's maximum": in_levels(121),
    "FP8 (1,4,3)": in_format(Format(4, 3)),
    "FP8 (1,5,2)": in_format(Format(5, 2)),
}
"""Codes of keys and values by name: bits as `Attention` makes them, or another coding."""


class Cached(Attention):
    """Attention whose keys and values are coded in another way than its queries."""

    def __init__(self, numerics: Numerics, coding: Coding | int) -> None:
        super().__init__(numerics)
        self._query = Attention(numerics)
        self._coding = Attention(numerics, coding).coded if isinstance(coding, int) else coding

    def coded(self, x: Values) -> Heads:
        """See `Attention.coded`."""
        return self._coding(x)

    def __call__(self, query: Values, keys: Heads, values: Heads) -> Values:
        """See `Attention`."""
        return self.weighted(self.scores(self._query.coded(query), keys), values)


def model(coding: Coding | int) -> type[GoldenModel]:
    """The golden model with such a cache."""

    class Model(GoldenModel):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.attention = Cached(self.numerics, coding)

    return Model


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--text", type=Path, required=True, metavar="FILE")
    options.add_argument("--model", default=MODEL, metavar="NAME")
    options.add_argument("--tokens", type=int, default=TOKENS, metavar="N")
    arguments = options.parse_args()
    demo = shipped(arguments.model)
    text = Text(demo.held_out(arguments.text), arguments.tokens, demo)
    print(table(["cache", "loss over float", "standard error", "same likeliest token"], ()))
    for name, coding in CODINGS.items():
        step(name)
        score = score_golden(text.image, Numerics(), text.rows, text.counted, kind=model(coding))
        loss, agreed = score.loss - text.real.loss, agreement(text.real, score)
        error = standard_error(score, text.real)
        print(line([name, f"{loss:+.4f}", f"{error:.4f}", f"{100 * agreed:.2f} %"]), flush=True)


if __name__ == "__main__":
    run(main)
