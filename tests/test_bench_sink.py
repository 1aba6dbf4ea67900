"""Sink of the array and its elementwise lanes against the golden model's arithmetic."""

import numpy as np
import pytest
from bench.pipeline import Job, check
from bench.runner import run_bench
from numpy.typing import NDArray
from units import expect

from setun.firmware.config import ChipConfig
from setun.firmware.formats import Format
from setun.firmware.isa import Kernel
from setun.hw.sink import KernelLane, Sink

STORING = [k for k in Kernel if k is not Kernel.SAMPLE]


class Lane(KernelLane):
    """`KernelLane` with the twin that `bench.pipeline` compares it with."""

    def model(self, kernel: NDArray[np.int64], *operands: NDArray[np.int64]) -> NDArray[np.int64]:
        out = np.zeros(len(kernel), np.int64)
        for which in STORING:
            out = np.where(kernel == which, expect.kernel(self.fmt, which, *operands), out)
        return out


def test_kernels() -> None:
    rng = np.random.default_rng(61)
    jobs = []
    for fmt in (Format(8, 9), Format(6, 9), Format(8, 7), Format(5, 2)):
        n = 6000
        kernel = rng.choice([int(k) for k in STORING], n)
        # Numbers as layers have them, then any bits at all.
        usual = [fmt.to_bits(rng.normal(0, s, n)).astype(np.int64) for s in (2.0, 2.0, 1.0)]
        gate = fmt.to_bits(rng.uniform(0, 1, n)).astype(np.int64)
        anything = [rng.integers(0, 1 << fmt.width, n) for _ in range(4)]
        # y and h leave other units, which write every zero as zero bits.
        anything[0] = fmt.to_bits(fmt.from_bits(anything[0])).astype(np.int64)
        wild = rng.random(n) < 0.4
        operands = [np.where(wild, w, u) for w, u in zip(anything, [*usual, gate], strict=True)]
        name = f"e{fmt.exponent}m{fmt.mantissa}"
        jobs.append(Job(name=name, unit=Lane(fmt), inputs=[kernel, *operands]))
    check(jobs, seed=61)


@pytest.mark.parametrize(
    "config",
    [
        ChipConfig(lanes=1, columns=8, rows=4, max_columns=384),
        ChipConfig(lanes=4, columns=8, rows=16, max_columns=1024, vector=Format(6, 9)),
        pytest.param(
            ChipConfig(lanes=8, columns=8, rows=8, max_columns=384), marks=pytest.mark.slow
        ),
    ],
    ids=lambda c: f"{c.lanes}of{c.rows}",
)
def test_sink(config: ChipConfig) -> None:
    sink = Sink(config)
    parameters = {"config": config.to_dict(), "sum_width": sink.sum_width, "commands": 40}
    run_bench(sink, "units.sink", parameters=parameters, seed=62)
