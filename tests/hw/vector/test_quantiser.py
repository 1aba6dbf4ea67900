"""Normaliser-quantiser and scale unit against their twins."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.runner import run_bench
from setun.firmware.config import ChipConfig
from setun.firmware.core_kinds import PARALLEL
from setun.firmware.numerics.arithmetic import MeanSquare
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import Numerics
from setun.hw.vector.quantiser import Quantiser

EPS = 1e-6, 1e-6
MODES = [mode for mode in MeanSquare if PARALLEL.has(mode)]


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


def exact(exponent: int, mantissa: int) -> Numerics:
    return Numerics(vector=Format(exponent, mantissa))


def fp8(exponent: int, mantissa: int) -> Numerics:
    return Numerics(vector=Format(exponent, mantissa), activation="fp8")


def lmul(exponent: int, mantissa: int) -> Numerics:
    return Numerics(vector=Format(exponent, mantissa), multiplier="lmul")


@pytest.mark.parametrize(
    ("lanes", "columns", "rows", "numerics", "lengths", "contexts", "memory"),
    [
        (1, 8, 8, exact(8, 9), (1, 2, 96), 1, "onchip"),
        (4, 16, 8, exact(6, 9), (1, 3, 4, 96, 100), 2, "onchip"),
        (8, 32, 32, exact(8, 9), (1, 7, 8, 9, 96, 100, 384), 4, "sdram-16"),
        (4, 16, 8, lmul(8, 9), (1, 4, 5, 96), 2, "onchip"),
        (4, 16, 8, fp8(8, 9), (1, 3, 4, 96, 100), 2, "onchip"),
        pytest.param(1, 1, 8, fp8(6, 9), (1, 2, 40), 1, "onchip", marks=pytest.mark.slow),
        pytest.param(2, 8, 8, fp8(5, 2), (1, 9, 100), 4, "sdram-16", marks=pytest.mark.slow),
        pytest.param(8, 32, 8, lmul(6, 7), (1, 9, 384), 1, "onchip", marks=pytest.mark.slow),
        pytest.param(8, 8, 8, exact(8, 7), (1, 8, 100), 4, "onchip", marks=pytest.mark.slow),
        pytest.param(2, 4, 8, exact(5, 10), (1, 2, 3, 100), 2, "sdram-16", marks=pytest.mark.slow),
        pytest.param(8, 32, 8, exact(8, 9), (1, 9, 100, 384), 1, "onchip", marks=pytest.mark.slow),
    ],
)
def test_vectors(
    lanes: int,
    columns: int,
    rows: int,
    numerics: Numerics,
    lengths: tuple[int, ...],
    contexts: int,
    memory: str,
) -> None:
    vector = numerics.vector
    config = ChipConfig(
        columns=columns,
        rows=rows,
        lanes=lanes,
        max_columns=max(lengths),
        numerics=numerics,
        contexts=contexts,
        memory=memory,
    )
    twin = Quantiser(config)
    eps = [int(bits) for bits in vector.to_bits(EPS)]
    rng = np.random.default_rng(41)
    jobs: list[dict[str, Any]] = []
    arrays: dict[str, NDArray[np.int64]] = {}
    scales: list[list[int]] = []
    sums: list[list[int]] = []
    for n in lengths:
        every = list(kinds(rng, vector, n))
        for kind, own, *gains in every:
            # Seats share the gains; beside a vector lie others of any kind.
            others = rng.permutation(len(every))[: contexts - 1]
            x = np.stack([own, *(every[k][1] for k in others)])
            x, outer, gain = (vector.to_bits(v).astype(np.int64) for v in (x, *gains))
            # Every mode of the mean square in turn, all of them for the plain vectors.
            turn = [MODES[len(jobs) % 3]] if kind != "plain" else MODES
            for mode in turn:
                k = len(jobs)
                array_sums = vector.to_bits(10.0 ** rng.uniform(-2, 4, contexts)).tolist()
                command = {"mean_square": int(mode), "inverse_n": int(vector.to_bits(1.0 / n)[0])}
                results = [
                    twin.model(xs, outer, gain, command, total, *eps)
                    for xs, total in zip(x, array_sums, strict=True)
                ]
                arrays |= {f"x{k}": x, f"outer{k}": outer, f"gain{k}": gain}
                arrays[f"codes{k}"] = np.stack([codes for codes, _ in results])
                scales.append([scale for _, scale in results])
                sums.append(array_sums)
                command["stream"] = int(rng.random() < 0.5)
                jobs.append({"kind": kind, "command": command})
    arrays |= {"scales": np.array(scales), "array_sums": np.array(sums)}
    words = sum(-(-arrays[f"x{k}"].shape[1] // lanes) + 2 for k in range(len(jobs)))
    config = config.override(vector_elements=words * lanes)
    parameters = {
        "config": config.to_dict(),
        "vectors": jobs,
        "eps_outer": eps[0],
        "eps_inner": eps[1],
    }
    assert len({scale for each in scales for scale in each}) > len(lengths)
    run_bench(
        Quantiser(config),
        "hw.vector.bench_quantiser",
        parameters=parameters,
        arrays=arrays,
        seed=41,
    )
