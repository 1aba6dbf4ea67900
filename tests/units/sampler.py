"""Cocotb bench of the sampler."""

from typing import Any

import cocotb
import numpy as np
from bench import context
from bench.mismatch import compare
from cocotb.triggers import FallingEdge, ReadOnly

from setun.firmware.formats import Format
from units.array import fields


class Watch:
    """Cycles and tokens of the `done` strobes."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.cycle = 0
        self.seen: list[tuple[int, int]] = []

    async def run(self) -> None:
        while True:
            await FallingEdge(self.dut.clk)
            await ReadOnly()
            self.cycle += 1
            if self.dut.done.value:
                self.seen.append((self.cycle, int(self.dut.token.value)))


@cocotb.test()
async def tokens(dut: Any) -> None:
    """Generations of several tokens each: every token, and its strobe in time."""
    p, arrays = context.parameters(), context.arrays()
    fmt, lanes = Format(*p["format"]), p["lanes"]
    edge = FallingEdge(dut.clk)
    rng = context.generator("gaps")
    for port in ("start", "load", "logits__valid"):
        getattr(dut, port).value = 0
    await context.start(dut)
    watch = Watch(dut)
    cocotb.start_soon(watch.run())
    for number, job in enumerate(p["generations"]):
        dut.greedy.value = int(job["factor"] is None)
        dut.factor.value = job["factor"] or 0
        dut.seed.value = job["seed"]
        dut.load.value = 1
        await edge
        dut.load.value = 0
        for step, logits in enumerate(arrays[f"logits{number}"]):
            count = len(logits)
            dut.count.value = count
            dut.start.value = 1
            await edge
            dut.start.value = 0
            dut.count.value = rng.getrandbits(16)  # it was taken with the strobe
            padded = np.zeros(-(-count // lanes) * lanes, np.int64)
            padded[:count] = logits
            # Beyond the count lies what would win.
            padded[count:] = fmt.to_bits(fmt.largest)[0]
            watch.seen.clear()
            for k in range(0, len(padded), lanes):
                for _ in range(rng.choice(job["gaps"])):
                    await edge
                dut.logits__payload.value = fields(padded[k : k + lanes], fmt.width)
                dut.logits__valid.value = 1
                await edge
                dut.logits__valid.value = 0
                dut.logits__payload.value = rng.getrandbits(fmt.width * lanes)
                last = watch.cycle
                for _ in range(lanes - 1):
                    await edge
            for _ in range(12):
                await edge
            name = f"generation {number} ({job['kind']}) token {step}"
            assert len(watch.seen) == 1, f"{name}: {len(watch.seen)} strobes"
            cycle, token = watch.seen[0]
            expected = int(arrays[f"tokens{number}"][step])
            shown = f"{fmt.from_bits(logits[expected]):g}, {fmt.from_bits(logits[token]):g}"
            compare(f"{name}, logits {shown}", expected, token, unit="Sampler", width=16)
            assert cycle - last <= lanes + 6, f"{name}: {cycle - last} cycles"
