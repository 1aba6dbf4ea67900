"""Sink of the array and its elementwise lanes against the golden model's arithmetic."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from bench.pipeline import Job, check
from bench.runner import run_bench
from numpy.typing import NDArray
from units import expect
from units.sink import BUFFER, BUFFERS

from setun.firmware.config import ChipConfig
from setun.firmware.formats import Format
from setun.firmware.isa import Kernel
from setun.firmware.numerics import Numerics
from setun.hw.kernel import KernelLane
from setun.hw.pipeline import delayed
from setun.hw.sink import Sink

STORING = [k for k in Kernel if k is not Kernel.SAMPLE]


class Lane(wiring.Component):
    """`KernelLane` running one kernel, `a` given together with the rest, and its twin."""

    def __init__(self, fmt: Format, which: Kernel) -> None:
        self.fmt, self.which = fmt, which
        self.latency = KernelLane.EARLY + KernelLane.LATENCY[which]
        super().__init__({**dict.fromkeys("yahc", In(fmt.width)), "o": Out(fmt.width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.lane = lane = KernelLane(Numerics(vector=self.fmt))
        m.d.comb += [lane.kernel.eq(self.which), lane.a.eq(self.a), self.o.eq(lane.o)]
        for name in "yhc":
            late = delayed(m, getattr(self, name), KernelLane.EARLY, f"{name}_late")
            m.d.comb += getattr(lane, name).eq(late)
        return m

    def model(self, *operands: NDArray[np.int64]) -> NDArray[np.int64]:
        return expect.kernel(self.fmt, self.which, *operands)


def test_kernels() -> None:
    rng = np.random.default_rng(61)
    jobs = []
    for fmt, which in product((Format(8, 9), Format(6, 9), Format(8, 7), Format(5, 2)), STORING):
        n = 1500
        # Numbers as layers have them, then any bits at all.
        usual = [fmt.to_bits(rng.normal(0, s, n)).astype(np.int64) for s in (2.0, 2.0, 1.0)]
        gate = fmt.to_bits(rng.uniform(0, 1, n)).astype(np.int64)
        anything = [rng.integers(0, 1 << fmt.width, n) for _ in range(4)]
        # y and h leave other units, which write every zero as zero bits.
        anything[0] = fmt.to_bits(fmt.from_bits(anything[0])).astype(np.int64)
        wild = rng.random(n) < 0.4
        operands = [np.where(wild, w, u) for w, u in zip(anything, [*usual, gate], strict=True)]
        name = f"e{fmt.exponent}m{fmt.mantissa}_{which.name.lower()}"
        jobs.append(Job(name=name, unit=Lane(fmt, which), inputs=operands))
    check(jobs, seed=61)


def shaped(lanes: int, rows: int, **options: Any) -> ChipConfig:
    """A chip whose memories are those of the bench."""
    elements = BUFFER * BUFFERS * lanes
    return ChipConfig(
        **{"max_columns": 384, **options}, lanes=lanes, columns=8, rows=rows,
        vector_elements=elements, state_elements=elements,
    )  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [
        shaped(1, 4),
        shaped(4, 16, contexts=2, max_columns=1024, numerics=Numerics(vector=Format(6, 9))),
        shaped(2, 4, contexts=4, memory="sdram-16"),
        pytest.param(shaped(8, 8, contexts=4), marks=pytest.mark.slow),
        pytest.param(shaped(4, 16), marks=pytest.mark.slow),
        pytest.param(shaped(4, 32, contexts=2, memory="axi4-64"), marks=pytest.mark.slow),
    ],
    ids=lambda c: f"{c.lanes}of{c.rows}-{c.contexts}-{c.memory}",
)
def test_sink(config: ChipConfig) -> None:
    sink = Sink(config)
    parameters = {"config": config.to_dict(), "sum_width": sink.sum_width, "commands": 40}
    run_bench(sink, "units.sink", parameters=parameters, seed=62)
