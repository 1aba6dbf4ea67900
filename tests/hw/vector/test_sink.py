"""Sink of the array and its elementwise lanes against the golden model's arithmetic."""

from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from bench.pipeline import Job, check
from bench.runner import run_bench
from hw.vector.sink_jobs import BUFFER, BUFFERS
from setun.firmware.config import ChipConfig
from setun.firmware.core_kinds import PARALLEL
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.noise import NOISE_BITS
from setun.firmware.numerics.options import PRESETS, Numerics
from setun.firmware.program import kernels
from setun.firmware.program.kernels import Kernel
from setun.hw.pipeline import delayed
from setun.hw.vector.kernel import KernelLane, kernel_latency
from setun.hw.vector.sink import Sink

FORMATS = {
    "e8m9": Numerics(),
    "e6m9": Numerics(vector=Format(6, 9)),
    "e8m7": Numerics(vector=Format(8, 7)),
    "e5m2": Numerics(vector=Format(5, 2)),
}
STATES = {
    "narrow": Numerics(state_mantissa=6),
    "wide": Numerics(state_mantissa=12),
    "stochastic": Numerics(state_rounding="stochastic"),
    "stochastic_wide": Numerics(
        vector=Format(8, 7), state_rounding="stochastic", state_mantissa=10
    ),
    "lmul": Numerics(multiplier="lmul"),
    "lmul_e6m4": Numerics(multiplier="lmul", vector=Format(6, 4)),
    "lmul_stochastic": Numerics(multiplier="lmul", state_rounding="stochastic", state_mantissa=5),
}
STORING = [k for k in PARALLEL.kernels if k.stores]


class Lane(wiring.Component):
    """`KernelLane` running one kernel, `a` given together with the rest, and its twin."""

    def __init__(self, numerics: Numerics, which: Kernel) -> None:
        self.numerics, self.fmt, self.which = numerics, numerics.vector, which
        self.lane = KernelLane(numerics)
        self.latency = KernelLane.EARLY + kernel_latency(numerics)[which]
        w, state = numerics.vector.width, numerics.state.width
        members = {**dict.fromkeys("yac", In(w)), "h": In(state), "noise": In(NOISE_BITS)}
        super().__init__({**members, "o": Out(w), "state": Out(state)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.lane = lane = self.lane
        m.d.comb += [lane.kernel.eq(self.which.code), lane.a.eq(self.a), self.o.eq(lane.o)]
        if self.which.gated:
            m.d.comb += self.state.eq(lane.state)
        if self.numerics.stochastic:
            wider = self.numerics.state.mantissa > self.numerics.vector.mantissa
            late = self.latency - (2 if wider else 1)
            m.d.comb += lane.noise.eq(delayed(m, self.noise, late, "noise_late"))
        for name in "yhc":
            late = delayed(m, getattr(self, name), KernelLane.EARLY, f"{name}_late")
            m.d.comb += getattr(lane, name).eq(late)
        return m

    def model(
        self,
        y: NDArray[np.int64],
        a: NDArray[np.int64],
        c: NDArray[np.int64],
        h: NDArray[np.int64],
        noise: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return self.lane.model(self.which, y, a, h, c, noise)


def test_kernels() -> None:
    run_lanes(product(FORMATS.items(), STORING))


def test_kernels_of_other_numerics() -> None:
    """The state's format matters to the state only; L-Mul to every product."""
    others = product(STATES.items(), [kernels.MLGRU])
    run_lanes([*others, (("lmul", STATES["lmul"]), kernels.GLU)])


def run_lanes(lanes: Iterable[tuple[tuple[str, Numerics], Kernel]]) -> None:
    rng = np.random.default_rng(61)
    jobs = []
    for (kind, numerics), which in lanes:
        n, fmt, state = 1500, numerics.vector, numerics.state
        # Numbers as layers have them, then any bits at all.
        usual = [fmt.to_bits(rng.normal(0, s, n)).astype(np.int64) for s in (2.0, 2.0, 1.0)]
        gate = fmt.to_bits(rng.uniform(0, 1, n)).astype(np.int64)
        anything = [rng.integers(0, 1 << fmt.width, n) for _ in range(4)]
        # y and h leave other units, which write every zero as zero bits.
        anything[0] = fmt.to_bits(fmt.from_bits(anything[0])).astype(np.int64)
        wild = rng.random(n) < 0.4
        y, a, h, c = (np.where(wild, w, u) for w, u in zip(anything, [*usual, gate], strict=True))
        h = state.to_bits(fmt.from_bits(h)).astype(np.int64)
        noise = rng.integers(0, 1 << NOISE_BITS, n)
        name = f"{kind}_{which.name.lower()}"
        # In the order of the unit's members.
        jobs.append(Job(name=name, unit=Lane(numerics, which), inputs=(y, a, c, h, noise)))
    check(jobs, seed=61)


def shaped(lanes: int, rows: int, **options: Any) -> ChipConfig:
    """A chip whose memories are those of the bench."""
    elements = BUFFER * BUFFERS * lanes
    return ChipConfig(
        **{"max_columns": 384, "columns": 8, **options},
        lanes=lanes,
        rows=rows,
        vector_elements=elements,
        state_elements=elements,
    )


@pytest.mark.parametrize(
    "config",
    [
        shaped(1, 4),
        shaped(4, 16, contexts=2, max_columns=1024, numerics=Numerics(vector=Format(6, 9))),
        shaped(2, 4, contexts=4, memory="sdram-16"),
        shaped(2, 8, contexts=2, numerics=PRESETS["stochastic"]),
        pytest.param(
            shaped(4, 8, numerics=Numerics(multiplier="lmul", state_mantissa=12)),
            marks=pytest.mark.slow,
        ),
        shaped(
            4,
            4,
            contexts=2,
            memory="sdram-16",
            numerics=Numerics(
                vector=Format(6, 7),
                multiplier="lmul",
                state_rounding="stochastic",
                state_mantissa=9,
            ),
        ),
        shaped(4, 8, numerics=Numerics(activation="fp8")),
        shaped(4, 8, five_trits=1, columns=16),
        shaped(2, 8, five_trits=1, columns=16, contexts=4, memory="axi4-64"),
        shaped(4, 4, five_trits=1, columns=16, contexts=2, numerics=PRESETS["lmul"]),
        pytest.param(shaped(8, 8, contexts=4), marks=pytest.mark.slow),
        pytest.param(shaped(4, 16), marks=pytest.mark.slow),
        pytest.param(shaped(4, 32, contexts=2, memory="axi4-64"), marks=pytest.mark.slow),
    ],
    ids=lambda c: (
        f"{c.lanes}of{c.rows}-{c.contexts}-{c.memory}-{c.numerics.activation}"
        f"-{c.numerics.multiplier}"
        f"-{c.numerics.state_rounding}-{c.five_trits}"
    ),
)
def test_sink(config: ChipConfig) -> None:
    sink = Sink(config)
    parameters = {"config": config.to_dict(), "commands": 40}
    run_bench(sink, "hw.vector.bench_sink", parameters=parameters, seed=62)
