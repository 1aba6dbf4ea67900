"""`python -m setun.sim.studies.sums [--plot FILE]`: long sums in (1,6,9), in chunks.

Two experiments. Numbers of mean 1 and standard deviation 1, uniformly distributed, are those of
Wang et al. (arXiv 1812.08011, figure 3); every addition is rounded, inside a chunk and between
chunks, or else, as on the chip, only those between. Dot products are the chip's: fp8 codes of
normally distributed activations, ternary weights, `Arithmetic.sums`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.drawing import pyplot, save
from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.formats import Values
from setun.firmware.numerics.options import ACCUMULATOR, EXACT, Numerics
from setun.programs import figure, parser, run, step, table

LENGTHS = tuple(1 << k for k in range(6, 17))
CHUNKS = (1, 16, 64, 256)
TRIALS = 64
ZEROS = 1 / 3
"""Share of zeros among ternary weights; 0.336 in the demo model."""
SHOWN = (256, 1024, 4096, 16384, 65536)


def uniform(length: int, trials: int = TRIALS, seed: int = 1) -> Values:
    """Addends [trials, length] of mean 1 and standard deviation 1, in (1,6,9)."""
    spread = np.sqrt(3.0)
    rng = np.random.default_rng(seed)
    return ACCUMULATOR.round(rng.uniform(1.0 - spread, 1.0 + spread, (trials, length)))


def chunked(x: Values, chunk: int, exact: bool) -> Values:
    """Sums [trials] of x [trials, n] in chunks; `exact`: rounded between chunks only.

    n is a multiple of `chunk`, or smaller.
    """
    parts = x.reshape(len(x), -1, min(chunk, x.shape[1]))
    if exact:
        sums = ACCUMULATOR.round(parts.sum(-1))
    else:
        sums = np.zeros(parts.shape[:2])
        for k in range(parts.shape[2]):
            sums = ACCUMULATOR.round(sums + parts[..., k])
    total = sums[:, 0]
    for k in range(1, sums.shape[1]):
        total = ACCUMULATOR.round(total + sums[:, k])
    return total


def progress_of_sum(x: Values) -> Values:
    """Mean of the unchunked sums of x [trials, n] after each addend [n]."""
    total, means = np.zeros(len(x)), np.empty(x.shape[1])
    for k in range(x.shape[1]):
        total = ACCUMULATOR.round(total + x[:, k])
        means[k] = total.mean()
    return means


def stall(x: Values) -> int:
    """Addends after which no unchunked sum of x [trials, n] grows any more; n if some still do."""
    total, last = np.zeros(len(x)), 0
    for k in range(x.shape[1]):
        new = ACCUMULATOR.round(total + x[:, k])
        if (new != total).any():
            last = k + 1
        total = new
    return last


def error(got: NDArray[np.floating[Any]], exact: NDArray[np.floating[Any]]) -> float:
    """Root mean square of the error over that of the result."""
    return float(np.sqrt(np.mean((got - exact) ** 2) / np.mean(exact**2)))


def number_errors(lengths: Sequence[int], chunks: Sequence[int]) -> dict[str, list[float]]:
    """Errors of sums of `uniform` numbers, by kind of sum, one per length."""
    addends = uniform(max(lengths))
    found: dict[str, list[float]] = {"float32": []}
    for n in lengths:
        x = addends[:, :n]
        want = x.sum(-1)  # exact: 10 bits each, 65,536 of them
        found["float32"].append(error(np.cumsum(x, -1, dtype=np.float32)[:, -1], want))
        for chunk in chunks:
            for exact in (False, True) if chunk > 1 else (False,):
                name = f"{chunk}, exact inside" if exact else str(chunk)
                found.setdefault(name, []).append(error(chunked(x, chunk, exact), want))
    return found


def dot_errors(lengths: Sequence[int], chunks: Sequence[int]) -> dict[str, list[float]]:
    """Errors of dot products of fp8 codes and ternary weights, by chunk, one per length."""
    rng = np.random.default_rng(2)
    share = [(1.0 - ZEROS) / 2, ZEROS, (1.0 - ZEROS) / 2]
    found: dict[str, list[float]] = {}
    for n in lengths:
        weights = rng.choice([-1.0, 0.0, 1.0], (n, TRIALS), p=share).astype(np.float32)
        t = rng.standard_normal((TRIALS, n))
        fp8 = Arithmetic(Numerics(activation="fp8", accumulate=EXACT))
        codes, _ = fp8.codes(t, np.abs(t).max(-1, keepdims=True))
        want = fp8.sums(codes, weights)
        for chunk in chunks:
            arithmetic = Arithmetic(Numerics(activation="fp8", accumulate=chunk))
            found.setdefault(str(chunk), []).append(error(arithmetic.sums(codes, weights), want))
    return found


def _table(found: dict[str, list[float]], lengths: Sequence[int]) -> str:
    shown = [n for n in lengths if n in SHOWN]
    rows = [
        [name, *(figure(errors[lengths.index(n)]) for n in shown)] for name, errors in found.items()
    ]
    return table(["chunk", *(f"{n:,}" for n in shown)], rows)


def plot(
    file: Path, numbers: dict[str, list[float]], dots: dict[str, list[float]], sums: Values
) -> None:
    """Draw an unchunked sum's course [n] and the errors of both experiments."""
    drawing, axes = pyplot().subplots(1, 3, figsize=(13, 4))
    places = np.unique(np.geomspace(1, len(sums), 400).astype(int))
    axes[0].loglog(places, places, "k--", linewidth=1, label="exact")
    axes[0].loglog(places, sums[places - 1], label="chunk 1")
    axes[0].set(xlabel="length", ylabel="sum", title="uniform, mean 1, deviation 1")
    for name, errors in list(numbers.items())[1:]:  # without float32
        colour = f"C{CHUNKS.index(int(name.split(',')[0]))}"
        style = "s:" if "exact" in name else "o-"
        axes[1].loglog(LENGTHS, errors, style, color=colour, label=f"chunk {name}")
    axes[1].set(xlabel="length", ylabel="error / result, RMS", title="uniform, mean 1, deviation 1")
    for k, (name, errors) in enumerate(dots.items()):
        axes[2].loglog(LENGTHS, errors, "s:", color=f"C{k}", label=f"chunk {name}")
    axes[2].set(xlabel="length", ylabel="error / result, RMS", title="fp8 codes, ternary weights")
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    save(drawing, file)


def main() -> None:
    """Print both tables; draw them."""
    arguments = parser(__doc__, plot=True).parse_args()
    step("sums of uniform numbers")
    numbers = number_errors(LENGTHS, CHUNKS)
    addends = uniform(LENGTHS[-1])
    print(_table(numbers, LENGTHS))
    print(f"\nUnchunked sums stall after {stall(addends):,} addends.\n")
    step("dot products")
    dots = dot_errors(LENGTHS, CHUNKS)
    print(_table(dots, LENGTHS))
    if arguments.plot:
        plot(arguments.plot, numbers, dots, progress_of_sum(addends))


if __name__ == "__main__":
    run(main)
