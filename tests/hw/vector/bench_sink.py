"""Cocotb benches of the sink: commands back to back on memories that they share."""

import random
from itertools import pairwise
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, ReadOnly

from bench import context
from bench.mismatch import compare
from bench.streams import StreamSource, pack, unpack
from hw.array.bench_array import fields
from hw.vector.sink_jobs import (
    BUFFER,
    BUFFERS,
    Command,
    Job,
    Seats,
    draw,
    draw_seats,
    order,
    planes,
    row_scales,
    scale_bits,
    sums,
)
from setun.firmware.config import ChipConfig
from setun.firmware.core_kinds import PARALLEL
from setun.firmware.numerics.five_trits import joined
from setun.firmware.program import kernels
from setun.firmware.program.kernels import Port
from setun.hw.commands import sink_command
from setun.hw.seats import pass_layout
from setun.hw.vector.quantiser import coming_layout
from setun.hw.vector.sink import Sink, Stored, logits_layout

Words = np.ndarray  # [.., words, lanes] of bit patterns


class Memories:
    """Vector, state and gate memory behind the sink's ports; data one cycle later."""

    def __init__(self, dut: Any, config: ChipConfig, commands: list[Job], seed: int) -> None:
        self.dut, self.config = dut, config
        rng = np.random.default_rng(seed)
        fmt, contexts = config.vector, config.contexts
        size = (BUFFER * BUFFERS, config.lanes)
        spaces = 1 if contexts == 1 else 2 * contexts
        self.vector = fmt.to_bits(rng.normal(size=(spaces, *size))).astype(np.int64)
        state = config.numerics.state
        self.state = state.to_bits(rng.normal(size=(contexts, *size))).astype(np.int64)
        self.generators = [int(x) for x in rng.integers(1, 1 << 32, contexts)]  # of each seat
        self.gates = fmt.to_bits(rng.uniform(0, 1, (1, *size))).astype(np.int64)
        self.done = 0
        self.logits: list[list[int]] = []
        self.times: list[int] = []  # of the logits
        self.listening = random.Random(seed)
        self.heard: list[list[int]] = []  # `coming`, with what is then written, and where
        # Words stored: the last one of a command's seat.
        self.stores, total = 0, 0
        self.ends: dict[tuple[int, int], int] = {}
        for number, (_, rows, _) in enumerate(commands):
            seats, n = len(rows), rows.shape[-1]
            for _, seat in order(config, -(-n // config.lanes), seats):
                total += 1
                self.ends[number, seat] = total

    def lanes(self, word: int, w: int) -> list[int]:
        return [word >> (k * w) & ((1 << w) - 1) for k in range(self.config.lanes)]

    def place(self, memory: Words, address: int) -> tuple[int, int]:
        """Index of a word: pieces start at powers of two."""
        bits = (memory.shape[1] - 1).bit_length()
        if self.config.contexts == 1 or len(memory) == 1:
            return 0, address
        return address >> bits, address & ((1 << bits) - 1)

    def read(self, memory: Words, port: Any) -> Words:
        """The word at a port's address; any when the address is none, as between commands."""
        piece, word = self.place(memory, int(port.value))
        return memory[piece % len(memory), word % memory.shape[1]].copy()

    async def serve(self) -> None:
        dut, w, cycle = self.dut, self.config.vector.width, 0
        layouts = coming_layout(self.config), logits_layout(self.config)
        nothing = np.zeros(self.config.lanes, np.int64)
        words = {"vector": nothing, "state": nothing, "gate": nothing}
        announced: dict[str, int] | None = None
        while True:
            await FallingEdge(dut.clk)
            for name, word in words.items():
                width = self.config.numerics.state.width if name == "state" else w
                getattr(dut, f"{name}_data").value = fields(word, width)
            dut.listening.value = int(self.listening.random() < 0.1)
            await ReadOnly()
            # A read in the cycle of a write sees the old word.
            words = {
                "vector": self.read(self.vector, dut.vector_address),
                "state": self.read(self.state, dut.state_address),
                "gate": self.read(self.gates, dut.gate_address),
            }
            data, written = self.lanes(int(dut.write_data.value), w), bool(dut.write_vector.value)
            states = self.lanes(int(dut.state_word.value), self.config.numerics.state.width)
            logits = bool(dut.logits__valid.value)
            self.stores += written or logits
            for name, memory, new in (("vector", self.vector, data), ("state", self.state, states)):
                if getattr(dut, f"write_{name}").value:
                    memory[self.place(memory, int(getattr(dut, f"{name}_write").value))] = new
            if dut.done.value:
                self.done += 1
                assert written or logits, "done, but nothing stored"
            if announced:
                assert written, "announced, but not written"
                at = self.place(self.vector, int(dut.vector_write.value))
                about = [announced[name] for name in ("word", "seat", "closes", "ends")]
                self.heard.append([*about, *at, *data])
            announced = unpack(layouts[0], int(dut.coming.value))
            announced = announced if announced["valid"] else None
            if logits:
                item = unpack(layouts[1], int(dut.logits__payload.value))
                self.logits.append([item["word"], item["seat"], *item["values"]])
                self.times.append(cycle)
            cycle += 1


class Model:
    """The same commands, one after the other and seat after seat, on copies of the memories."""

    def __init__(self, config: ChipConfig, memories: Memories, seats: Seats) -> None:
        self.config, self.seats = config, seats
        self.sink = Sink(config)
        self.vector, self.state = memories.vector.copy(), memories.state.copy()
        self.gates, self.generators = memories.gates, memories.generators
        self.logits: list[list[int]] = []
        self.array_sums: list[list[int]] = []  # of every command and seat
        self.heard: list[list[int]] = []

    def run(self, command: Command, rows: np.ndarray, scales: list[int]) -> None:
        v = self.config.lanes
        words = -(-rows.shape[-1] // v)
        padded = np.zeros((*rows.shape[:-1], words * v), np.int64)
        padded[..., : rows.shape[-1]] = rows
        own = None
        if command.get("planes"):
            own = np.zeros(words * v, np.int64)
            own[: rows.shape[-1]] = row_scales(self.config, rows.shape[-1])
        stored = [
            self._seat(command, k, values, scale, own)
            for k, (values, scale) in enumerate(zip(padded, scales, strict=True))
        ]
        self.array_sums.append([each.array_sum for each in stored])
        places = order(self.config, words, len(rows))
        for number, (word, seat) in enumerate(places):
            values = stored[seat].vector.reshape(-1, v)[word].tolist()
            if command["kernel"] == kernels.SAMPLE.code:
                self.logits.append([word, seat, *values])
            elif command["feeds"]:
                closes, ends = word == words - 1, number == len(places) - 1
                at = self.seats[seat]["workspace"], command["destination"] + word
                self.heard.append([word, seat, closes, ends, *at, *values])

    def _seat(
        self, command: Command, number: int, rows: np.ndarray, scale: int, own: np.ndarray | None
    ) -> Stored:
        v, seat = self.config.lanes, self.seats[number]
        words = rows.shape[-1] // v
        vector, state = self.vector[seat["workspace"]], self.state[seat["context"]]
        source = slice(command["source"], command["source"] + words)
        target = slice(command["destination"], command["destination"] + words)
        first = command.get("gates", command["destination"])
        limits = self.gates[0][first : first + words]
        kernel = kernels.coded(command["kernel"])
        a, gates, h = (x.ravel() for x in (vector[source], limits, state[target]))
        made = self.sink.model(
            command,
            joined(rows).astype(np.int64) if command.get("planes") else rows,
            scale,
            a,
            0 * h if seat["fresh"] else h,
            gates,
            self.generators[number],
            own,
        )
        if kernel.gated:
            state[target] = made.state.reshape(-1, v)
        if kernel.stores:
            place = source if kernel.stores is Port.SOURCE else target
            vector[place] = made.vector.reshape(-1, v)
        return made


class Play:
    """Commands on sink and model; memories, logits, statistics and strobes are compared."""

    def __init__(
        self, dut: Any, config: ChipConfig, commands: list[Job], seats: Seats, name: str, seed: int
    ) -> None:
        self.dut, self.config, self.commands, self.name = dut, config, commands, name
        self.seats = seats
        self.memories = Memories(dut, config, commands, seed)
        self.model = Model(config, self.memories, seats)
        for job in commands:
            self.model.run(*job)

    def groups(self) -> list[int]:
        """Every command's row groups in the array's order."""
        q, width = self.config.rows, self.config.sum_width
        words = []
        for _, rows, _ in self.commands:
            count = -(-rows.shape[-1] // q)
            padded = np.zeros((*rows.shape[:-1], count * q), np.int64)
            padded[..., : rows.shape[-1]] = rows
            groups = padded.reshape(len(rows), -1, count, q)[:, ::-1]
            groups = groups.transpose(0, 2, 1, 3).reshape(len(rows), -1, q)
            if self.config.shares_weights:
                groups = groups.transpose(1, 0, 2)
            words += [fields(group, width) for group in groups.reshape(-1, q)]
        return words

    def row_scales(self) -> list[int]:
        """Scales of the row groups of commands with planes, as the array gives them."""
        q, words = self.config.rows, []
        for command, rows, _ in self.commands:
            if command.get("planes"):
                count = -(-rows.shape[-1] // q)
                own = np.zeros(count * q, np.int64)
                own[: rows.shape[-1]] = row_scales(self.config, rows.shape[-1])
                turns = 1 if self.config.shares_weights else len(rows)
                words += [
                    fields(each, self.config.vector.width) for each in own.reshape(-1, q)
                ] * turns
        return words

    async def settle(self, number: int, seat: int) -> None:
        """Wait for the statistic of a seat's rows, which stands some cycles behind the last."""
        dut, w = self.dut, self.config.vector.width
        while self.memories.stores < self.memories.ends[number, seat]:
            await FallingEdge(dut.clk)
        for _ in range(30):
            if int(dut.settled.value) >> seat & 1:
                break
            await FallingEdge(dut.clk)
        got = int(dut.array_sum.value) >> (w * seat) & ((1 << w) - 1)
        compare(
            f"array_sum of command {number}, seat {seat}",
            self.model.array_sums[number][seat],
            got,
            self.config.vector,
            unit=f"Sink {self.name}",
        )

    async def give_scales(self, stall: float) -> None:
        """Scales of every slot; behind GLU the quantiser makes them of the statistic."""
        source = StreamSource(self.dut, "scale", stall=stall)
        before: Command = {"keep": 0, "kernel": kernels.COPY.code}
        for number, (command, _, scales) in enumerate(self.commands):
            if not before["keep"]:
                for seat, scale in enumerate(scales):
                    if before["kernel"] == kernels.GLU.code:
                        await self.settle(number - 1, seat)
                    await source.send([scale])
            before = command

    async def run(self, stalls: tuple[float, float, float]) -> None:
        dut, config, memories, model = self.dut, self.config, self.memories, self.model
        seats = [*self.seats, *[{}] * (config.contexts - len(self.seats))]
        dut.rst.value = 1
        dut.logits__ready.value = 1
        if config.numerics.stochastic:
            dut.generators.value = fields(np.array(memories.generators), 32)
        dut.seating.value = pack(pass_layout(config), {"last": len(self.seats) - 1, "seats": seats})
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        served = cocotb.start_soon(memories.serve())
        commands = StreamSource(dut, "command", stall=stalls[0], layout=sink_command(config))
        tasks = [
            cocotb.start_soon(commands.send([c for c, _, _ in self.commands])),
            cocotb.start_soon(StreamSource(dut, "groups", stall=stalls[1]).send(self.groups())),
            cocotb.start_soon(self.give_scales(stalls[2])),
        ]
        if own := self.row_scales():
            given = StreamSource(dut, "scales", stall=stalls[2])
            tasks.append(cocotb.start_soon(given.send(own)))
        for task in tasks:
            await task
        for _ in range(60):  # longer than the sink and its statistic
            await FallingEdge(dut.clk)
        served.cancel()
        fmt, unit = config.vector, f"Sink {self.name}"
        compare("commands done", len(self.commands), memories.done, unit=unit)
        compare("vector memory", model.vector, memories.vector, fmt, unit=unit)
        state = config.numerics.state
        compare("state memory", model.state, memories.state, state, unit=unit)
        compare("logits", np.array(model.logits), np.array(memories.logits), fmt, unit=unit)
        compare("announced words", np.array(model.heard), np.array(memories.heard), fmt, unit=unit)
        assert int(dut.settled.value) == (1 << config.contexts) - 1
        for seat in range(len(self.seats)):
            await self.settle(len(self.commands) - 1, seat)
        assert not dut.busy.value
        gaps = [b - a for a, b in pairwise(memories.times)]
        assert not gaps or min(gaps) >= config.lanes, f"{unit}: logits every {min(gaps)} cycles"


async def begin(dut: Any) -> ChipConfig:
    for port in ("command", "groups", "scale"):
        getattr(dut, f"{port}__valid").value = 0
    config = ChipConfig.from_dict(context.parameters()["config"])
    if config.five_trits:
        dut.scales__valid.value = 0
    await context.start(dut)
    return config


@cocotb.test()
async def chains(dut: Any) -> None:
    """Long random sequences: every kernel, every length, reads behind writes, kept slots."""
    config = await begin(dut)
    v = config.lanes
    patterns = [(0.0, 0.0, 0.0), (0.6, 0.0, 0.0), (0.0, 0.6, 0.0), (0.0, 0.0, 0.6), (0.3, 0.3, 0.3)]
    for number, stalls in enumerate(patterns):
        rng = context.generator(f"chains {number}")
        for fresh in (False, True):
            count = rng.randrange(config.contexts) + 1 if fresh else config.contexts
            seats = draw_seats(rng, config, count, fresh)
            commands: list[Job] = []
            before: Command | None = None
            scales = scale_bits(rng, config, count)
            many = context.parameters()["commands"]
            for left in reversed(range(many)):
                lengths = (1, v - 1, v, v + 1, 2 * v, 9 * v + 1, BUFFER * v)
                rows = max(1, rng.choice(lengths))
                # No one asks for the statistic of planes: the last command has none.
                kernel = rng.choice(PARALLEL.kernels) if left else kernels.COPY
                before = draw(rng, config, rows, kernel, before)
                before["keep"] = int(rng.random() < 0.3)
                commands.append((before, planes(rng, config, before, rows, count), scales))
                if not before["keep"]:
                    scales = scale_bits(rng, config, count)
            commands[-1][0]["keep"] = 0
            name = f"stalls {stalls}, seats {seats}"
            await Play(dut, config, commands, seats, name, 51 + number).run(stalls)


@cocotb.test()
async def statistics(dut: Any) -> None:
    """The statistic after single commands of every short length, and a pair with one scale."""
    config = await begin(dut)
    v = config.lanes
    for rows in sorted({1, v, 2 * v, 2 * v + 1, 3 * v, 4 * v, 5 * v, 20 * v}):
        rng = context.generator(f"statistics {rows}")
        count = rng.choice((1, config.contexts))
        seats = draw_seats(rng, config, count, False)
        pair: list[Job] = []
        scales = scale_bits(rng, config, count)
        for keep in (1, 0):
            command = draw(rng, config, rows, kernels.GLU, None)
            command["keep"] = keep
            pair.append((command, sums(rng, config, rows, count), scales))
        calm = (0.0, 0.0, 0.0)
        await Play(dut, config, pair, seats, f"{rows} rows twice", 52).run(calm)
        await Play(dut, config, pair[1:], seats, f"{rows} rows", 53).run(calm)
