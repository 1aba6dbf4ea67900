"""Cocotb benches of the sink: commands back to back on memories that they share."""

import random
from itertools import pairwise
from typing import Any

import cocotb
import numpy as np
from bench import context
from bench.mismatch import compare
from bench.streams import StreamSource
from cocotb.triggers import FallingEdge, ReadOnly

from setun.firmware.compiler import STAT_BITS
from setun.firmware.config import ChipConfig
from setun.firmware.isa import Kernel
from setun.hw.sink import sink_command
from units import expect
from units.array import fields

BUFFER = 40  # words of a vector; more than the pipeline is long
BUFFERS = 4
Words = np.ndarray  # [words, lanes] of bit patterns


class Memories:
    """Vector, state and gate memory behind the sink's ports; data one cycle later."""

    def __init__(self, dut: Any, config: ChipConfig, seed: int) -> None:
        self.dut, self.config = dut, config
        rng = np.random.default_rng(seed)
        fmt = config.vector
        shape = (BUFFER * BUFFERS, config.lanes)
        self.vector = fmt.to_bits(rng.normal(size=shape)).astype(np.int64)
        self.state = fmt.to_bits(rng.normal(size=shape)).astype(np.int64)
        self.gates = fmt.to_bits(rng.uniform(0, 1, shape)).astype(np.int64)
        self.done = 0
        self.logits: list[tuple[int, list[int]]] = []
        self.stores = 0
        self.listening = random.Random(seed)
        self.announced: list[bool] = []  # `coming`, cycle by cycle
        self.heard: list[list[int]] = []  # words written a cycle after it

    def lanes(self, word: int) -> list[int]:
        w = self.config.vector.width
        return [word >> (k * w) & ((1 << w) - 1) for k in range(self.config.lanes)]

    async def serve(self) -> None:
        dut, w, cycle = self.dut, self.config.vector.width, 0
        size = len(self.vector)
        vector_word = state_word = gate_word = np.zeros(self.config.lanes, np.int64)
        while True:
            await FallingEdge(dut.clk)
            dut.vector_data.value = fields(vector_word, w)
            dut.state_data.value = fields(state_word, w)
            dut.gate_data.value = fields(gate_word, w)
            dut.listening.value = int(self.listening.random() < 0.1)
            await ReadOnly()
            # A read in the cycle of a write sees the old word.
            vector, state = int(dut.vector_address.value), int(dut.state_address.value)
            vector_word = self.vector[vector % size].copy()
            state_word, gate_word = self.state[state % size].copy(), self.gates[state % size]
            self.done += int(dut.done.value)
            for name, memory in (("vector", self.vector), ("state", self.state)):
                if getattr(dut, f"write_{name}").value:
                    self.stores += 1
                    memory[int(dut.write_address.value)] = self.lanes(int(dut.write_data.value))
            if self.announced and self.announced[-1]:
                assert dut.write_vector.value, "announced, but not written"
                self.heard.append(self.lanes(int(dut.write_data.value)))
            self.announced.append(bool(dut.coming.value))
            if dut.logits__valid.value:
                self.logits.append((cycle, self.lanes(int(dut.logits__payload.value))))
            cycle += 1


class Model:
    """The same commands, one after the other, on copies of the memories."""

    def __init__(self, config: ChipConfig, memories: Memories, fresh: bool) -> None:
        self.config, self.fresh = config, fresh
        self.vector, self.state = memories.vector.copy(), memories.state.copy()
        self.gates = memories.gates
        self.logits: list[list[int]] = []
        self.array_sum = 0
        self.heard: list[list[int]] = []

    def run(self, command: dict[str, int], rows: Words, scale: int) -> None:
        fmt, v = self.config.vector, self.config.lanes
        words = -(-len(rows) // v)
        padded = np.zeros(words * v, np.int64)
        padded[: len(rows)] = rows
        y = expect.scaled(fmt, padded, scale, command["scale"])
        source = slice(command["source"], command["source"] + words)
        target = slice(command["destination"], command["destination"] + words)
        a = (self.state if command["from_state"] else self.vector)[source].ravel()
        which = Kernel(command["kernel"])
        self.array_sum = expect.row_statistic(
            fmt, padded, scale, command["scale"], command["stat_shift"]
        )
        if which is Kernel.SAMPLE:
            self.logits += y.reshape(-1, v).tolist()
            return
        h = 0 * y if self.fresh else self.state[target].ravel()
        o = expect.kernel(fmt, which, y, a, h, self.gates[target].ravel())
        memory = self.state if which is Kernel.MLGRU else self.vector
        memory[target] = o.reshape(-1, v)
        if command["feeds"]:
            self.heard += o.reshape(-1, v).tolist()


def draw(
    rng: random.Random, config: ChipConfig, rows: int, kernel: Kernel, before: dict[str, int] | None
) -> dict[str, int]:
    """A command that often reads what the one `before` wrote."""
    fmt = config.vector
    # The largest accumulator still fits the statistic, as the compiler takes care.
    shift = max(0, (127 * config.max_columns).bit_length() + 1 - STAT_BITS)
    bases = [k * BUFFER for k in range(BUFFERS)]
    source = rng.choice(bases)
    from_state = kernel is Kernel.GLU and rng.random() < 0.5
    if before is not None and rng.random() < 0.7:
        source = before["destination"]
        if kernel is Kernel.GLU:
            from_state = before["kernel"] == Kernel.MLGRU
    return {
        "rows": rows,
        "kernel": int(kernel),
        "keep": 0,
        "from_state": int(from_state),
        "feeds": int(rng.random() < 0.3 and kernel not in (Kernel.MLGRU, Kernel.SAMPLE)),
        "stat_shift": shift + rng.randrange(3),
        "source": source,
        "destination": rng.choice([source, *bases]),
        "scale": int(fmt.to_bits(rng.choice((0.01, 0.002, -0.03)))[0]),
    }


def sums(rng: random.Random, config: ChipConfig, rows: int, width: int) -> Words:
    """Accumulators, some of them as large as they get."""
    top = 127 * config.max_columns
    values = [int(rng.gauss(0.0, 300.0)) for _ in range(rows)]
    for k in range(rows):
        if rng.random() < 0.05:
            values[k] = rng.choice((0, top, -top))
    return np.clip(np.array(values), -top, top)


async def play(
    dut: Any,
    config: ChipConfig,
    commands: list[tuple[dict[str, int], Words, int]],
    stalls: tuple[float, float, float],
    fresh: bool,
    name: str,
    seed: int,
) -> None:
    """Run commands on sink and model; compare memories, logits, statistic and strobes."""
    q, width = config.rows, context.parameters()["sum_width"]
    dut.rst.value = 1
    dut.fresh.value = int(fresh)
    dut.logits__ready.value = 1
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    memories = Memories(dut, config, seed)
    model = Model(config, memories, fresh)
    served = cocotb.start_soon(memories.serve())
    groups, scales = [], []
    for command, rows, scale in commands:
        padded = np.zeros(-(-len(rows) // q) * q, np.int64)
        padded[: len(rows)] = rows
        groups += [fields(padded[k : k + q], width) for k in range(0, len(padded), q)]
        if not command["keep"]:
            scales.append(scale)
        model.run(command, rows, scale)
    layout = sink_command(config)
    order = StreamSource(dut, "command", stall=stalls[0], layout=layout)
    tasks = [
        cocotb.start_soon(order.send([c for c, _, _ in commands])),
        cocotb.start_soon(StreamSource(dut, "groups", stall=stalls[1]).send(groups)),
        cocotb.start_soon(StreamSource(dut, "scale", stall=stalls[2]).send(scales)),
    ]
    for task in tasks:
        await task
    for _ in range(60):  # longer than the sink and its statistic
        await FallingEdge(dut.clk)
    served.cancel()
    fmt = config.vector
    compare("commands done", len(commands), memories.done, unit=f"Sink {name}")
    compare("vector memory", model.vector, memories.vector, fmt, unit=f"Sink {name}")
    compare("state memory", model.state, memories.state, fmt, unit=f"Sink {name}")
    compare("logits", np.array(model.logits), np.array([v for _, v in memories.logits]), fmt,
            unit=f"Sink {name}")  # fmt: skip
    compare("announced words", np.array(model.heard), np.array(memories.heard), fmt,
            unit=f"Sink {name}")  # fmt: skip
    assert dut.settled.value
    compare("array_sum", model.array_sum, int(dut.array_sum.value), fmt, unit=f"Sink {name}")
    assert not dut.busy.value
    times = [t for t, _ in memories.logits]
    gaps = [b - a for a, b in pairwise(times)]
    assert not gaps or min(gaps) >= config.lanes, f"{name}: logits every {min(gaps)} cycles"


def scale_bits(rng: random.Random, config: ChipConfig) -> int:
    return int(config.vector.to_bits(rng.uniform(0.2, 3.0))[0])


async def begin(dut: Any) -> ChipConfig:
    for port in ("command", "groups", "scale"):
        getattr(dut, f"{port}__valid").value = 0
    await context.start(dut)
    return ChipConfig.from_dict(context.parameters()["config"])


@cocotb.test()
async def chains(dut: Any) -> None:
    """Long random sequences: every kernel, every length, reads behind writes, kept slots."""
    config = await begin(dut)
    width, v = context.parameters()["sum_width"], config.lanes
    patterns = [(0.0, 0.0, 0.0), (0.6, 0.0, 0.0), (0.0, 0.6, 0.0), (0.0, 0.0, 0.6), (0.3, 0.3, 0.3)]
    for number, stalls in enumerate(patterns):
        rng = context.generator(f"chains {number}")
        commands: list[tuple[dict[str, int], Words, int]] = []
        before: dict[str, int] | None = None
        scale = scale_bits(rng, config)
        for _ in range(context.parameters()["commands"]):
            lengths = (1, v - 1, v, v + 1, 2 * v, 9 * v + 1, BUFFER * v)
            rows = max(1, rng.choice(lengths))
            kernel = rng.choice(list(Kernel))
            before = draw(rng, config, rows, kernel, before)
            before["keep"] = int(rng.random() < 0.3)
            commands.append((before, sums(rng, config, rows, width), scale))
            if not before["keep"]:
                scale = scale_bits(rng, config)
        commands[-1][0]["keep"] = 0
        for fresh in (False, True):
            name = f"stalls {stalls} fresh {fresh}"
            await play(dut, config, commands, stalls, fresh, name, 51 + number)


@cocotb.test()
async def statistics(dut: Any) -> None:
    """The statistic after single commands of every short length, and a pair with one scale."""
    config = await begin(dut)
    width, v = context.parameters()["sum_width"], config.lanes
    for rows in sorted({1, v, 2 * v, 2 * v + 1, 3 * v, 4 * v, 5 * v, 20 * v}):
        rng = context.generator(f"statistics {rows}")
        pair = []
        scale = scale_bits(rng, config)
        for keep in (1, 0):
            command = draw(rng, config, rows, Kernel.GLU, None)
            command["keep"] = keep
            pair.append((command, sums(rng, config, rows, width), scale))
        await play(dut, config, pair, (0.0, 0.0, 0.0), False, f"{rows} rows twice", 52)
        await play(dut, config, pair[1:], (0.0, 0.0, 0.0), False, f"{rows} rows", 53)
