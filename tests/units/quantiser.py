"""Cocotb bench of the normaliser-quantiser, its scale unit included."""

import random
from typing import Any

import cocotb
import numpy as np
from bench import context
from bench.mismatch import compare
from bench.streams import StreamSink, StreamSource
from cocotb.triggers import FallingEdge, ReadOnly

from setun.firmware.config import SLOTS
from setun.firmware.formats import Format
from units.array import fields, signed


class Surroundings:
    """Vector and constant memory of the quantiser, and the slots that it writes.

    Memories are dictionaries from address to word; words never written read as noise. Vectors of
    `stream` commands are stored while the quantiser listens, and read as noise until then.
    """

    def __init__(self, dut: Any, width: int) -> None:
        self.dut = dut
        self.random = context.generator("noise")
        self.vector: dict[int, int] = {}
        self.constants: dict[int, int] = {}
        self.slots: list[dict[int, int]] = [{} for _ in range(SLOTS)]
        self.width = width
        self.streams: list[list[tuple[int, int]]] = []  # words to store, per stream command
        self.pace = 1.0

    async def serve(self) -> None:
        """Data one cycle behind the address; both read and driven once a cycle."""
        dut = self.dut
        at = {"vector": 0, "constant": 0}
        coming: tuple[int, int] | None = None  # announced in this cycle, stored in the next
        writing: tuple[int, int] | None = None
        current: list[tuple[int, int]] = []
        listening = False
        while True:
            await FallingEdge(dut.clk)
            for name, memory in (("vector", self.vector), ("constant", self.constants)):
                port = getattr(dut, f"{name}_data")
                word = memory.get(at[name])
                port.value = self.random.getrandbits(len(port)) if word is None else word
            # A read in the cycle of a write saw the old word.
            if writing:
                self.vector[writing[0]] = writing[1]
            writing, coming = coming, None
            dut.rows.value = writing[1] if writing else self.random.getrandbits(len(dut.rows))
            if listening and not current and not writing:
                current = self.streams.pop(0)
            if listening and current and self.random.random() < self.pace:
                coming = current.pop(0)
            dut.coming.value = int(coming is not None)
            await ReadOnly()
            listening = bool(dut.listening.value) and not (coming and not current)
            at["vector"] = int(dut.vector_address.value)
            at["constant"] = int(dut.constant_address.value)
            if dut.slot_enable.value:
                slot = self.slots[int(dut.slot.value)]
                slot[int(dut.slot_address.value)] = int(dut.slot_data.value)


def split(word: int, width: int, count: int) -> list[int]:
    return [signed(word >> (k * width), width) for k in range(count)]


@cocotb.test()
async def vectors(dut: Any) -> None:
    """Every vector under several patterns of stalls: words, codes and scales in order."""
    p, arrays = context.parameters(), context.arrays()
    fmt = Format(*p["format"])
    lanes, columns, w = p["lanes"], p["columns"], fmt.width
    await context.start(dut)
    dut.eps_outer.value = p["eps_outer"]
    dut.eps_inner.value = p["eps_inner"]
    dut.array_sum.value = p["array_sum"]
    dut.settled.value = 1
    dut.coming.value = 0
    around = Surroundings(dut, w)
    cocotb.start_soon(around.serve())

    rng = random.Random(context.seed())
    commands, source, pairs = [], 0, 0
    streams: list[list[tuple[int, int]]] = []
    for k, job in enumerate(p["vectors"]):
        x, outer, gain = (arrays[f"{name}{k}"] for name in ("x", "outer", "gain"))
        n = len(x)
        source += rng.randrange(3)
        pairs += rng.randrange(3)
        commands.append(
            n | source << 16 | pairs << 32 | job["mean_square"] << 56 | job["stream"] << 58
            | job["inverse_n"] << 59
        )  # fmt: skip
        stored: list[tuple[int, int]] = []
        for start in range(0, n, lanes):
            block = [v[start : start + lanes] for v in (x, outer, gain)]
            stored.append((source, fields(block[0], w)))
            around.constants[pairs] = fields(block[1], w) | fields(block[2], w) << (w * lanes)
            source, pairs = source + 1, pairs + 1
        streams.append(stored) if job["stream"] else around.vector.update(stored)

    for number, (give, fill, scale) in enumerate([(0, 0, 0), (0.5, 0.95, 0), (0, 0.3, 0.98)]):
        cocotb.log.info("stalls: command %.2f, filled %.2f, scale %.2f", give, fill, scale)
        around.streams = [list(words) for words in streams]
        around.pace = (1.0, 0.5, 0.1)[number]
        source_port = StreamSource(dut, "command", stall=give)
        filled = StreamSink(dut, "filled", stall=fill)
        scales = StreamSink(dut, "scale", stall=scale)
        sender = cocotb.start_soon(source_port.send(commands))
        taker = cocotb.start_soon(scales.receive(len(commands), limit=500_000))
        for k, job in enumerate(p["vectors"]):
            codes = arrays[f"codes{k}"]
            (words,) = await filled.receive(1)
            while len(around.slots[(number * len(commands) + k) % SLOTS]) < words:
                await FallingEdge(dut.clk)
            name = f"vector {k} ({job['kind']}, n={len(codes)}, pass {number})"
            compare(f"{name} words", -(-len(codes) // columns), words, unit="Quantiser")
            slot = around.slots[(number * len(commands) + k) % SLOTS]
            got = [c for a in range(words) for c in split(slot[a], 8, columns)]
            expected = np.zeros(words * columns, np.int64)
            expected[: len(codes)] = codes
            compare(f"{name} codes", expected, got, unit="Quantiser", width=8)
            # The next vector must not find this one's words.
            slot.clear()
        await sender
        got = await taker
        compare(f"scales, pass {number}", arrays["scales"], got, fmt, unit="ScaleUnit")
