"""Cocotb benches of the ternary array and its rows."""

from itertools import product
from typing import Any

import cocotb
import numpy as np
from cocotb.queue import Queue
from cocotb.triggers import FallingEdge, ReadOnly

from bench import context
from bench.mismatch import compare
from bench.streams import StreamSink, StreamSource
from setun.firmware.config import SLOTS, ChipConfig
from setun.firmware.numerics.five_trits import PLANES
from setun.firmware.numerics.options import CODE, CODE_FRACTION, Numerics
from setun.hw.array.array import TernaryArray


def fields(values: np.ndarray, width: int) -> int:
    """Integers as adjacent fields of `width` bits, the first one lowest."""
    word = 0
    for k, value in enumerate(values.ravel().tolist()):
        word |= (value & ((1 << width) - 1)) << (k * width)
    return word


def signed(word: int, width: int) -> int:
    """Two's complement value of the low `width` bits."""
    word &= (1 << width) - 1
    return word - (word >> (width - 1) << width)


def numerics() -> Numerics:
    return Numerics.from_dict(context.parameters()["numerics"])


def draw_codes(rng: np.random.Generator, n: int) -> np.ndarray:
    """Whole numbers that codes stand for."""
    if not numerics().fp8:
        return rng.integers(-127, 128, n)
    # Of all sizes, or near the largest: the sums of those have ties.
    exponents = rng.integers(0, CODE.bias + 1 if rng.random() < 0.5 else 7, n)
    codes = rng.choice([0.0, *range(-7, -3), *range(4, 8)], n) * 2.0**-2 * 2.0**-exponents
    codes[rng.random(n) < 0.1] = 2.0
    return (CODE.round(codes) * (1 << CODE_FRACTION)).astype(np.int64)


def patterns(codes: np.ndarray) -> np.ndarray:
    """What slots hold for them, 8 bits a code."""
    if not numerics().fp8:
        return codes
    return CODE.to_bits(codes / (1 << CODE_FRACTION)).astype(np.int64)


@cocotb.test()
async def rows(dut: Any) -> None:
    """A dot product a cycle from every row, each after its latency."""
    arrays = context.arrays()
    await context.start(dut)
    edge = FallingEdge(dut.clk)
    units = context.parameters()["rows"]
    got: dict[str, list[int]] = {u["name"]: [] for u in units}
    count = len(arrays[f"{units[0]['name']}_codes"])
    latest = max(u["latency"] for u in units)
    for cycle in range(count + latest):
        for unit in units:
            name = unit["name"]
            if cycle >= unit["latency"] and len(got[name]) < count:
                got[name].append(signed(int(getattr(dut, f"{name}__o").value), unit["width"]))
            if cycle < count:
                codes, weights = arrays[f"{name}_codes"][cycle], arrays[f"{name}_weights"][cycle]
                pairs = np.abs(weights) + 2 * (weights < 0)
                getattr(dut, f"{name}__codes").value = fields(codes, 8)
                getattr(dut, f"{name}__weights").value = fields(pairs, 2)
        await edge
    for unit in units:
        name = unit["name"]
        codes, weights = arrays[f"{name}_codes"], arrays[f"{name}_weights"]
        expected = (codes.astype(np.int64) * weights).sum(1)
        compare("sums", expected, got[name], unit=name, width=unit["width"])


class ArrayBench:
    """Sources, sink and monitor of one `units.harness.ArrayHarness`."""

    def __init__(self, dut: Any, stalls: dict[str, float]) -> None:
        p = context.parameters()
        self.dut = dut
        self.columns, self.rows, self.width = p["columns"], p["rows"], p["sum_width"]
        self.shared, self.panel = p["shared"], p["panel"]
        self.random = context.generator("slots")
        self.writing = stalls["written"]
        self.edge = FallingEdge(dut.clk)
        self.command = StreamSource(dut, "command", stall=stalls["command"])
        self.keep = len(dut.command__payload) - 1  # its bit of a command
        self.filled = StreamSource(dut, "filled", stall=stalls["filled"])
        self.weights = StreamSource(dut, "weights", stall=stalls["weights"])
        self.sink = StreamSink(dut, "o", stall=stalls["sink"])
        self.scale_bits = p["scale_bits"]
        if self.scale_bits:
            self.scales = StreamSink(dut, "scales", stall=stalls["sink"])
        self.ready: Queue[int] = Queue()
        self.used = 0
        self.slot = 0
        self.cycles: dict[str, int] = {}

    def groups(self, rows: int) -> int:
        return -(-rows // self.rows)

    async def write_slots(self, slots: list[np.ndarray]) -> None:
        """Codes into the slot memory, a word a cycle at most, while fewer than SLOTS wait."""
        p = self.columns
        for codes in slots:
            while self.used == SLOTS:
                await self.edge
            self.used += 1
            seats, n = codes.shape
            words = -(-n // p)
            padded = np.zeros((seats, words * p), np.int64)
            padded[:, :n] = codes
            self.ready.put_nowait(words)
            for seat, w in product(range(seats), range(words)):
                while self.random.random() < self.writing:
                    await self.edge
                self.dut.slot_enable.value = 1
                self.dut.slot.value = self.slot
                self.dut.slot_seat.value = seat
                self.dut.slot_address.value = w
                self.dut.slot_data.value = fields(patterns(padded[seat, w * p : (w + 1) * p]), 8)
                await self.edge
                self.dut.slot_enable.value = 0
            self.slot = (self.slot + 1) % SLOTS

    async def fill(self, count: int) -> None:
        for _ in range(count):
            await self.filled.send([await self.ready.get()])

    async def watch(self) -> None:
        """Count what the array says it does; it says one thing at most."""
        names = ("busy", "wait_codes", "wait_sink", "wait_weights")
        self.cycles = dict.fromkeys(names, 0)
        ports = [getattr(self.dut, name) for name in names]
        while True:
            await self.edge
            await ReadOnly()  # sources and sink have set this cycle's inputs
            self.used -= int(self.dut.released.value)
            flags = [int(port.value) for port in ports]
            assert sum(flags) <= 1, dict(zip(names, flags, strict=True))
            for name, flag in zip(names, flags, strict=True):
                self.cycles[name] += flag

    def words(self, job: dict[str, Any]) -> list[int]:
        """Weight words of a matrix, as `array_words` orders them; planes with their scales."""
        p, q, matrix = self.columns, self.rows, job["matrix"]
        rows, columns = matrix.shape
        padded = np.zeros((-(-rows // q) * q, -(-columns // p) * p), np.int64)
        padded[:rows, :columns] = matrix
        pairs = np.abs(padded) + 2 * (padded < 0)
        panel = (PLANES if job["scales"] else self.panel) * q
        found = []
        for number, start in enumerate(range(0, len(pairs), panel)):
            found += [
                fields(pairs[r : r + q, c : c + p], 2)
                for c in range(0, pairs.shape[1], p)
                for r in range(start, min(start + panel, len(pairs)), q)
            ]
            found += job["scales"][number : number + 1]
        return found

    def command_of(self, job: dict[str, Any]) -> int:
        """A matvec as the array sees it."""
        planes = bool(job["scales"])
        groups = self.groups(len(job["matrix"])) // (PLANES if planes else 1)
        return groups - 1 | planes << (self.keep - 1) | int(job["keep"]) << self.keep

    async def run(
        self, jobs: list[dict[str, Any]], slots: list[np.ndarray], seats: int
    ) -> list[np.ndarray]:
        """Every matvec's rows [seats, rows], in order."""
        matrices = [self.words(job) for job in jobs]
        words = [w for each in matrices for w in each * (1 if self.shared else seats)]
        commands = [self.command_of(job) for job in jobs]
        turns = 1 if self.shared else seats
        scales = [scale for job in jobs for scale in job["scales"] * turns]
        self.dut.last.value = seats - 1
        watcher = cocotb.start_soon(self.watch())
        tasks = [
            cocotb.start_soon(self.write_slots(slots)),
            cocotb.start_soon(self.fill(len(slots))),
            cocotb.start_soon(self.weights.send(words)),
            cocotb.start_soon(self.command.send(commands)),
        ]
        total = seats * sum(self.groups(len(job["matrix"])) for job in jobs)
        coming = None
        if scales:
            coming = cocotb.start_soon(self.scales.receive(len(scales), limit=400_000))
        groups = await self.sink.receive(total, limit=400_000)
        if coming:
            compare("scales", scales, await coming, unit="TernaryArray", width=self.scale_bits)
        for task in tasks:
            await task
        await self.edge
        watcher.cancel()
        # Where seats share weights, a word of scales is read once for all.
        once = sum(len(job["scales"]) for job in jobs) if self.shared else 0
        self.total_words = seats * (sum(map(len, matrices)) - once) + once
        out, at = [], 0
        for job in jobs:
            n = self.groups(len(job["matrix"]))
            values = np.array(
                [
                    [signed(g >> (k * self.width), self.width) for k in range(self.rows)]
                    for g in groups[at : at + n * seats]
                ]
            )
            at += n * seats
            if self.shared:  # group by group, in each seat by seat
                values = values.reshape(n, seats, self.rows).transpose(1, 0, 2)
            out.append(values.reshape(seats, n * self.rows))
        return out


def make_jobs(
    rng: np.random.Generator, seats: int, corners: bool
) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """Matvecs back to back: corners, then random shapes; some keep their slot for the next."""
    p, q = context.parameters()["columns"], context.parameters()["rows"]
    longest = context.parameters()["max_columns"]
    jobs: list[dict[str, Any]] = []
    slots = []

    def add(matrices: list[np.ndarray], codes: np.ndarray) -> None:
        """Matvecs on a slot in which one seat, any of them, has these codes."""
        every = [codes, -codes, draw_codes(rng, len(codes)), 0 * codes]
        mine = np.array(rng.permutation(every[:seats]))
        slots.append(mine)
        for k, matrix in enumerate(matrices):
            last = k == len(matrices) - 1
            jobs.append({"matrix": matrix, "scales": [], "codes": mine, "keep": not last})

    def add_planes(groups: int, n: int, **top: Any) -> None:
        """Row groups of planes, and then again on the same slot, in one group."""
        bits, shape = context.parameters()["scale_bits"], (PLANES * groups * q, n)
        first = len(jobs)
        full = np.full(shape, top["weight"]) if top else rng.integers(-1, 2, shape)
        add([full, full[: PLANES * q], full[:1]], top["codes"] if top else draw_codes(rng, n))
        for job in jobs[first : first + 2]:
            count = len(job["matrix"]) // (PLANES * q)
            job["scales"] = [int.from_bytes(rng.bytes(-(-bits // 8))) >> 1 for _ in range(count)]
            job["scales"] = [scale & (1 << bits) - 1 for scale in job["scales"]]

    if corners:
        largest = 2 << CODE_FRACTION if numerics().fp8 else 127
        top = np.full(longest, largest)
        signs = rng.choice([-largest, largest], longest)
        ones = np.ones((q, longest), np.int64)
        add([ones, -ones, 0 * ones], top)
        add([ones, -ones], -top)
        add([np.sign(signs)[None].repeat(q + 1, 0), -np.sign(signs)[None]], signs)
        add([rng.integers(-1, 2, (3 * q, longest))], 0 * top)
        # One word a row, then one element, one row.
        add([rng.integers(-1, 2, (12 * q, p))], draw_codes(rng, p))
        add([np.array([[-1]])], top[:1])
        add([rng.integers(-1, 2, (1, longest))], draw_codes(rng, longest))
        # A last panel of one row group.
        one_more = context.parameters()["panel"] * q + 1
        add([rng.integers(-1, 2, (one_more, longest))], draw_codes(rng, longest))
    if context.parameters()["scale_bits"]:
        if corners:
            largest = np.full(longest, 2 << CODE_FRACTION if numerics().fp8 else 127)
            add_planes(1, longest, weight=1, codes=largest)
            add_planes(2, longest, weight=-1, codes=largest)
            add_planes(3, p)
        add_planes(int(rng.integers(1, 5)), int(rng.integers(1, longest + 1)))
    for _ in range(context.parameters()["matvecs"]):
        n = int(rng.integers(1, longest + 1))
        shapes = [(int(rng.integers(1, 4 * q)), n) for _ in range(int(rng.integers(1, 4)))]
        add([rng.integers(-1, 2, shape) for shape in shapes], draw_codes(rng, n))
    return jobs, slots


@cocotb.test()
async def matvecs(dut: Any) -> None:
    """Matvecs under every pattern of stalls, each with all seats and then with other numbers."""
    calm = dict.fromkeys(("command", "filled", "written", "weights", "sink"), 0.0)
    patterns = [
        calm,
        *({**calm, name: 0.7} for name in calm),
        dict.fromkeys(calm, 0.3),
        {**calm, "sink": 0.93},
    ]
    contexts = context.parameters()["contexts"]
    twin = TernaryArray(ChipConfig.from_dict(context.parameters()["config"]))
    rounded = 0
    await context.start(dut)
    for number, stalls in enumerate(patterns):
        bench = ArrayBench(dut, stalls)
        dut.rst.value = 1
        await bench.edge
        dut.rst.value = 0
        others = [] if contexts == 1 else [1 + number % contexts]
        for turn, seats in enumerate([contexts, *others]):
            rng = np.random.default_rng([context.seed(), number, turn])
            jobs, slots = make_jobs(rng, seats, corners=turn == 0)
            got = await bench.run(jobs, slots, seats)
            for index, (job, have) in enumerate(zip(jobs, got, strict=True)):
                want = np.zeros(have.shape, np.int64)
                codes, matrix = job["codes"], job["matrix"]
                exact = codes @ matrix.T
                sums = twin.model(codes, matrix)
                rounded += int((sums != exact).sum())
                want[:, : len(matrix)] = sums
                compare(
                    f"matvec {index} of {seats} seats, stalls {stalls}",
                    want,
                    have,
                    unit="TernaryArray",
                    width=bench.width,
                )
            assert bench.cycles["busy"] == bench.total_words, (stalls, bench.cycles)
            if stalls is calm:
                assert bench.cycles["wait_weights"] == 0
    assert bool(rounded) == bool(numerics().accumulate)
