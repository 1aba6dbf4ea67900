"""Cocotb bench of dot-product rows."""

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from bench import context
from bench.mismatch import compare
from hw.array.bench_array import fields, signed
from setun.hw.array.dot import DotRow


@cocotb.test()
async def rows(dut: Any) -> None:
    """A dot product a cycle from every row, each after its latency."""
    arrays = context.arrays()
    units = context.parameters()["rows"]
    await context.start(dut)
    edge = FallingEdge(dut.clk)
    got: dict[str, list[int]] = {u["name"]: [] for u in units}
    count = len(next(iter(arrays.values())))
    for cycle in range(count + max(u["latency"] for u in units)):
        for unit in units:
            name, columns = unit["name"], unit["columns"]
            if cycle >= unit["latency"] and len(got[name]) < count:
                got[name].append(signed(int(getattr(dut, f"{name}__o").value), unit["width"]))
            if cycle < count:
                codes, pairs = arrays[f"codes{columns}"][cycle], arrays[f"pairs{columns}"][cycle]
                getattr(dut, f"{name}__codes").value = fields(codes, 8)
                getattr(dut, f"{name}__weights").value = fields(pairs, 2)
        await edge
    for unit in units:
        codes, pairs = (
            arrays[f"{k}{unit['columns']}"].astype(np.int64) for k in ("codes", "pairs")
        )
        compare(
            "sums",
            DotRow(unit["columns"]).model(codes, pairs),
            got[unit["name"]],
            unit=unit["name"],
            width=unit["width"],
        )
