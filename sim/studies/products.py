"""`python -m setun.sim.studies.products`: errors of L-Mul, exhaustively.

The published figures (Chen et al., arXiv 2412.18948, table IV) are the formula's, not the integer
addition's: all pairs of positive normal values, the formula not rounded to the format. Formats
with three mantissa bits or more lose the pattern of all ones, E4M3's NaN (OCP 8-bit floating
point). Read so, each of the twelve figures comes out to its last digit.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from setun.firmware.numerics.formats import Format, Values
from setun.firmware.numerics.lmul import MOST_SEGMENTS, formula, lmul
from setun.programs import parser, run, table

PUBLISHED = {
    (6, 1): (0.319, 1.0),
    (5, 2): (0.111, 0.938),
    (4, 3): (0.068, 0.968),
    (3, 4): (0.069, 0.992),
    (2, 5): (0.072, 0.997),
    (1, 6): (0.073, 0.999),
}
"""Exponent and mantissa bits: mean relative error, share of products that are not exact."""

NAN_FROM = 3  # mantissa bits from which the pattern of all ones is left out
FORMS = {"formula": formula, "addition": lmul}
SEGMENTS = {
    f"addition, segments = {bits}": partial(lmul, segments=bits)
    for bits in range(1, MOST_SEGMENTS + 1)
}


@dataclass(frozen=True)
class Errors:
    """Relative errors of approximate products."""

    mean: float
    size: float
    """Mean magnitude: "MRE" in the paper."""
    largest: float
    share: float
    """Share of products with an error: "EP" in the paper."""
    bias: float
    """Largest mean, without its sign, over the products of one factor."""


def values(exponent: int, mantissa: int) -> Values:
    """Positive normal values of an 8-bit float [n], scaled by a power of two."""
    significands = significand(mantissa)
    fields = np.arange(1, 1 << exponent)
    all_of_them = np.ldexp(significands, fields[:, None]).ravel()
    return all_of_them[:-1] if mantissa >= NAN_FROM else all_of_them


def significand(mantissa: int) -> Values:
    """Every significand in [1, 2) with `mantissa` stored bits."""
    return 1.0 + np.arange(1 << mantissa) / (1 << mantissa)


def errors(form: str, x: Values, mantissa: int, fmt: Format | None = None) -> Errors:
    """Errors of all products of two of `x`, rounded to `fmt` if there is one."""
    products = x[:, None] * x
    got = (FORMS | SEGMENTS)[form](x[:, None], x, mantissa)
    relative = (got if fmt is None else fmt.round(got)) / products - 1.0
    size = np.abs(relative)
    share = np.count_nonzero(relative) / relative.size
    bias = float(np.abs(relative.mean(0)).max())
    return Errors(float(relative.mean()), float(size.mean()), float(size.max()), share, bias)


def published() -> str:
    """Table: formats of 8 bits, published figures and both forms'."""
    rows = []
    for (exponent, mantissa), (size, share) in PUBLISHED.items():
        x = values(exponent, mantissa)
        ours = [errors(form, x, mantissa) for form in FORMS]
        rows.append(
            [f"E{exponent}M{mantissa}", f"{size:.3f}", f"{share:.3f}"]
            + [figure for e in ours for figure in (f"{e.size:.4f}", f"{e.share:.4f}")]
        )
    columns = ["format", "published error", "inexact"]
    return table(columns + [f"{form}{what}" for form in FORMS for what in ("", ", inexact")], rows)


def wide() -> str:
    """Table: all pairs of significands of formats that a chip computes in.

    The last column is the largest mean error that one significand has with all others: the bias of
    a product whose one factor is a whole vector's.
    """
    rows = []
    for mantissa in (2, 3, 7, 9, 10):
        for form in FORMS | SEGMENTS:
            e = errors(form, significand(mantissa), mantissa, Format(8, mantissa))
            figures = [f"{100 * x:+.2f} %" for x in (e.mean,)]
            figures += [f"{100 * x:.2f} %" for x in (e.size, e.largest, e.bias)]
            rows.append([f"(8,{mantissa})", form, *figures])
    return table(
        ["format", "form, rounded", "mean error", "mean magnitude", "largest", "bias"], rows
    )


def main() -> None:
    """Print both tables."""
    parser(__doc__).parse_args()
    print(published(), wide(), sep="\n\n")


if __name__ == "__main__":
    run(main)
