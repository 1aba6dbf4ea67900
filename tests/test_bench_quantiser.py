"""Normaliser-quantiser and scale unit against the golden model."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from bench.runner import run_bench
from numpy.typing import NDArray
from units.expect import quantised

from setun.firmware.config import ChipConfig
from setun.firmware.formats import Format
from setun.firmware.isa import MeanSquare
from setun.hw.quantiser import Quantiser

EPS = 1e-6, 1e-6


def kinds(
    rng: np.random.Generator, fmt: Format, n: int
) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]:
    """(name, x, outer, gain) of every kind of vector; rounded by the caller."""
    ones = np.ones(n)
    x = rng.normal(size=n)
    gains = rng.normal(1.0, 0.3, n)
    yield "plain", x, gains, gains * rng.normal(1.0, 0.3, n)
    yield "zero", 0 * x, gains, gains
    yield "no gain", x, gains, 0 * gains
    yield "one left", np.where(np.arange(n) == n // 2, -3.0, 0.0), ones, ones
    # |t| = (k + 1/2)/127 of the maximum: every code is a tie.
    odd = np.sign(x) * (2.0 * rng.integers(0, 127, n) + 1.0)
    odd[0] = 254.0
    yield "ties", odd, ones, -ones
    near = odd * (1.0 + rng.choice([-1, 0, 1], n) * 2.0**-fmt.mantissa)
    near[0] = 254.0
    yield "near ties", near, ones, ones
    span = rng.uniform(-fmt.bias + 1, fmt.bias, n)
    yield "all exponents", x * 2.0**span, ones, ones
    yield "huge", x * fmt.largest / 4, 8 * gains, 8 * gains
    yield "tiny", x * fmt.smallest * 4, gains / 4, gains / 4
    yield "bounds", np.where(x > 0, fmt.largest, -fmt.smallest), ones, gains


@pytest.mark.parametrize(
    ("lanes", "columns", "fmt", "lengths"),
    [
        (1, 8, (8, 9), (1, 2, 96)),
        (4, 16, (6, 9), (1, 3, 4, 96, 100)),
        (8, 32, (8, 9), (1, 7, 8, 9, 96, 100, 384)),
        pytest.param(8, 8, (8, 7), (1, 8, 100), marks=pytest.mark.slow),
        pytest.param(2, 4, (5, 10), (1, 2, 3, 100), marks=pytest.mark.slow),
    ],
)
def test_vectors(lanes: int, columns: int, fmt: tuple[int, int], lengths: tuple[int, ...]) -> None:
    vector = Format(*fmt)
    config = ChipConfig(
        columns=columns, rows=8, lanes=lanes, vector=vector, max_columns=max(lengths)
    )
    rng = np.random.default_rng(41)
    jobs: list[dict[str, Any]] = []
    arrays: dict[str, NDArray[np.int64]] = {}
    scales: list[int] = []
    array_sum = vector.round1(37.5)
    for n in lengths:
        for kind, *operands in kinds(rng, vector, n):
            # Every mode of the mean square in turn, all of them for the plain vectors.
            turn = [MeanSquare(len(jobs) % 3)] if kind != "plain" else list(MeanSquare)
            for mode in turn:
                k = len(jobs)
                bits = [vector.to_bits(v).astype(np.int64) for v in operands]
                x, outer, gain = bits
                codes, scale = quantised(vector, x, outer, gain, mode, EPS, array_sum)
                arrays |= dict(zip((f"x{k}", f"outer{k}", f"gain{k}"), bits, strict=True))
                arrays[f"codes{k}"] = codes
                scales.append(scale)
                inverse = int(vector.to_bits(1.0 / n)[0])
                stream = int(rng.random() < 0.5)
                jobs.append({"kind": kind, "mean_square": int(mode), "inverse_n": inverse,
                             "stream": stream})  # fmt: skip
    arrays["scales"] = np.array(scales)
    parameters = {
        "lanes": lanes,
        "columns": columns,
        "format": fmt,
        "vectors": jobs,
        "eps_outer": int(vector.to_bits(EPS[0])[0]),
        "eps_inner": int(vector.to_bits(EPS[1])[0]),
        "array_sum": int(vector.to_bits(array_sum)[0]),
    }
    assert len(set(scales)) > len(lengths)
    run_bench(Quantiser(config), "units.quantiser", parameters=parameters, arrays=arrays, seed=41)
