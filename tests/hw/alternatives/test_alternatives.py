"""Alternatives that were measured compute what the array's rows compute."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from setun.hw.alternatives.shared_rows import ROWS, SUM_WIDTH, SharedRows, encode, patterns
from setun.hw.technology import GENERIC


def packed(values: Any, width: int) -> int:
    return sum((int(v) & ((1 << width) - 1)) << (k * width) for k, v in enumerate(values))


@pytest.mark.parametrize(
    ("columns", "together", "tables"),
    [
        (8, 2, False),
        (8, 2, True),
        (12, 3, True),
    ],
)
def test_shared_rows(columns: int, together: int, tables: bool) -> None:
    """Random and largest codes, every pattern of weights, both banks."""
    rng = np.random.default_rng(7)
    dut = SharedRows(columns, together, tables=tables, technology=GENERIC)
    count, entries = columns // together, len(patterns(together))
    assert len({encode(p) for p in patterns(together)}) == entries
    blocks = [rng.integers(-127, 128, columns) for _ in range(6)]
    blocks += [np.full(columns, 127), np.resize([127, -127], columns)]
    weights = rng.integers(-1, 2, (len(blocks), 5, ROWS, columns))
    weights[-2, 0], weights[-2, 1], weights[-2, 2] = 1, -1, 0
    expected = np.einsum("bgrc,bc->bgr", weights, np.array(blocks))
    got: list[list[int]] = []

    async def bench(ctx: Any) -> None:
        for number, codes in enumerate(blocks):
            bank = number % dut.banks
            ctx.set(dut.codes, packed(codes, 8))
            for entry in range(entries if tables else 0):
                ctx.set(dut.write, 1)
                ctx.set(dut.entry, entry | bank << dut.entry_bits)
                await ctx.tick()
            if tables:
                ctx.set(dut.write, 0)
                await ctx.tick()
            if dut.banks == 2:
                ctx.set(dut.bank, bank)
            for group in weights[number]:
                looks = [encode(part) for row in group for part in row.reshape(count, together)]
                ctx.set(dut.lookups, packed(looks, dut.lookup_bits))
                ctx.set(dut.first, 1)
                await ctx.tick()
                await ctx.tick().repeat(dut.latency - 1)
                total = ctx.get(dut.o)
                sums = [total >> (SUM_WIDTH * k) & ((1 << SUM_WIDTH) - 1) for k in range(ROWS)]
                got.append([s - (s >> (SUM_WIDTH - 1) << SUM_WIDTH) for s in sums])

    m = Module()
    m.submodules.dut = dut
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert np.array_equal(np.array(got), expected.reshape(-1, ROWS))
