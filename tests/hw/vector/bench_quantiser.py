"""Cocotb bench of the normaliser-quantiser, its scale unit included."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, ReadOnly

from bench import context
from bench.mismatch import compare
from bench.streams import StreamSink, StreamSource, pack
from hw.array.bench_array import fields, signed
from setun.firmware.config import SLOTS, ChipConfig
from setun.firmware.numerics.arithmetic import MeanSquare
from setun.hw.commands import quantise_command
from setun.hw.seats import pass_layout
from setun.hw.vector.quantiser import coming_layout

LIMIT = 20_000  # cycles without progress


@dataclass(frozen=True)
class Vectors:
    """One command: a vector for every seat, with the same gains."""

    command: dict[str, int]
    words: list[list[int]]  # of each variant, in memory
    codes: np.ndarray  # [variants, n]
    scales: list[int]
    array_sums: list[int]
    kind: str

    @property
    def array(self) -> bool:
        return self.command["mean_square"] == MeanSquare.ARRAY


@dataclass(frozen=True)
class Stalls:
    """Probabilities of stalls, and what else differs from pass to pass."""

    command: float
    filled: float  # and of the array, until it releases a slot
    scale: float
    pace: float  # words that the sink stores per cycle
    settling: tuple[int, ...]  # cycles that a sum of squares takes, one of them


def split(word: int, width: int, count: int) -> list[int]:
    return [signed(word >> (k * width), width) for k in range(count)]


class Surroundings:
    """Everything around the quantiser for one pass: memories, sink, slots and who sits where.

    Memories are dictionaries from address to word; words never written read as noise. Vectors of
    `stream` commands are stored while the quantiser listens, and read as noise until then.

    Parameters
    ----------
    seats
        Workspace and variant of the vectors of each seat.
    slot
        Where the pass's first codes go.
    """

    def __init__(
        self,
        dut: Any,
        config: ChipConfig,
        jobs: Sequence[Vectors],
        stalls: Stalls,
        seats: Sequence[tuple[int, int]],
        slot: int,
    ) -> None:
        self.dut, self.config, self.jobs, self.stalls = dut, config, jobs, stalls
        self.seats, self.slot = seats, slot
        self.edge = FallingEdge(dut.clk)
        self.random = context.generator(f"noise {stalls} {len(seats)}")
        self.constants: dict[int, int] = {}
        self.vector: dict[int, int] = {}
        self.writes: list[tuple[int, int, int, int]] = []
        self.filled = self.released = self.scales = self.overlaps = 0
        self.sums = [0] * config.contexts
        self.settled = [0] * config.contexts
        ends, total = [], 0
        for job in jobs:
            ends.append([total := total + self.slot_words(job) for _ in seats])
        self.ends = ends  # writes after which a seat's codes of a command are there

    def slot_words(self, job: Vectors) -> int:
        return -(-job.command["n"] // self.config.columns)

    def address(self, local: int, workspace: int) -> int:
        """Workspaces start at powers of two."""
        if self.config.contexts == 1:
            return local
        return workspace << (self.config.vector_words - 1).bit_length() | local

    def prepare(self, constants: dict[int, int]) -> None:
        """Memories, and the words that the sink will store, in its order."""
        self.constants = constants
        self.streams = []
        c, last = self.config, len(self.seats) - 1
        for number, job in enumerate(self.jobs):
            stored = []
            for seat, (workspace, variant) in enumerate(self.seats):
                for k, word in enumerate(job.words[variant]):
                    at = self.address(job.command["source"] + k, workspace)
                    closes = k == len(job.words[variant]) - 1
                    coming = {
                        "valid": 1,
                        "word": k,
                        "seat": seat,
                        "closes": int(closes),
                        "ends": int(closes and seat == last),
                    }
                    stored.append((number, coming, at, word))
            if not job.command["stream"]:
                self.vector |= {at: word for _, _, at, word in stored}
                continue
            if c.shares_weights:  # row group by row group, in each seat by seat
                parts = c.rows // c.lanes
                stored.sort(key=lambda s: (s[1]["word"] // parts, s[1]["seat"], s[1]["word"]))
            self.streams.append(stored)

    def coded(self, number: int, seat: int) -> bool:
        """Rows of the matvec on a seat's codes come when the codes are there."""
        return number < 0 or len(self.writes) >= self.ends[number][seat]

    async def serve(self) -> None:
        """Data one cycle behind the address; both read and driven once a cycle."""
        dut = self.dut
        layout = coming_layout(self.config)
        at = {"vector": 0, "constant": 0}
        coming: tuple[int, dict[str, int], int, int] | None = None  # stored in the next cycle
        writing: tuple[int, dict[str, int], int, int] | None = None
        current: list[tuple[int, dict[str, int], int, int]] = []
        listening = False
        while True:
            await self.edge
            for name, memory in (("vector", self.vector), ("constant", self.constants)):
                port = getattr(dut, f"{name}_data")
                word = memory.get(at[name])
                port.value = self.random.getrandbits(len(port)) if word is None else word
            # A read in the cycle of a write saw the old word.
            if writing:
                self.vector[writing[2]] = writing[3]
            writing, coming = coming, None
            dut.rows.value = writing[3] if writing else self.random.getrandbits(len(dut.rows))
            if listening and not current and not writing:
                current = self.streams.pop(0)
            if listening and current and self.random.random() < self.stalls.pace:
                number, about, _, _ = current[0]
                if self.coded(number - 1, about["seat"]):
                    coming = current.pop(0)
                    self.overlaps += not self.coded(number - 1, len(self.seats) - 1)
            about = coming[1] if coming else {"valid": 0, "word": self.random.getrandbits(16)}
            dut.coming.value = pack(layout, about)
            await ReadOnly()
            listening = bool(dut.listening.value) and not (coming and not current)
            at["vector"] = int(dut.vector_address.value)
            at["constant"] = int(dut.constant_address.value)
            if dut.slot_enable.value:
                self.write()

    def write(self) -> None:
        dut, now = self.dut, len(self.writes)
        ports = (dut.slot, dut.slot_seat, dut.slot_address, dut.slot_data)
        self.writes.append(tuple(int(port.value) for port in ports))
        number = next(k for k, ends in enumerate(self.ends) if now < ends[-1])
        assert number < self.released + SLOTS, f"vector {number}: codes into a slot in use"
        announced = number < self.filled or bool(dut.filled__valid.value)
        assert announced, f"vector {number}: codes before the slot was announced"

    def show(self) -> None:
        """Sums of squares of every seat, and whether they stand, to the ports."""
        self.dut.array_sum.value = fields(np.array(self.sums), self.config.vector.width)
        self.dut.settled.value = sum(bit << k for k, bit in enumerate(self.settled))

    def unsettle(self, seat: int, settled: int) -> None:
        self.sums[seat] = self.random.getrandbits(self.config.vector.width)
        self.settled[seat] = settled
        self.show()

    async def settle(self, job: Vectors) -> None:
        """The sums of the rows that `job` norms come one after the other, seats in any order."""
        times = [self.random.choice(self.stalls.settling) for _ in self.seats]
        for cycle in range(max(times) + 1):
            for seat, (_, variant) in enumerate(self.seats):
                if times[seat] == cycle:
                    self.sums[seat], self.settled[seat] = job.array_sums[variant], 1
            self.show()
            await self.edge

    async def give(self) -> None:
        """Commands; one that norms by the array's rows follows those rows, which need the scales
        of what came before."""
        layout = quantise_command(self.config)
        source = StreamSource(self.dut, "command", stall=self.stalls.command, layout=layout)
        wanted = 0
        for number, job in enumerate(self.jobs):
            if job.array:
                while self.scales < wanted:
                    await self.edge
                wanted = (number + 1) * len(self.seats)
                for seat in range(len(self.seats)):
                    self.unsettle(seat, 0)
                cocotb.start_soon(self.settle(job))
            await source.send([job.command])

    async def take_scales(self) -> list[int]:
        sink = StreamSink(self.dut, "scale", stall=self.stalls.scale)
        got: list[int] = []
        while len(got) < len(self.jobs) * len(self.seats):
            number, seat = divmod(len(got), len(self.seats))
            got += await sink.receive(1, limit=LIMIT)
            self.scales = len(got)
            if self.jobs[number].array:  # nobody asks for the sum any more
                self.unsettle(seat, self.random.getrandbits(1))
        return got

    async def check_codes(self, name: str) -> None:
        """Every word of every slot, and how many were announced; slots are released in order."""
        columns, start = self.config.columns, 0
        filled = StreamSink(self.dut, "filled", stall=self.stalls.filled)
        for number, job in enumerate(self.jobs):
            n, words = job.command["n"], self.slot_words(job)
            (announced,) = await filled.receive(1, limit=LIMIT)
            self.filled += 1
            what = f"vector {number} ({job.kind}, n={n}, {name})"
            compare(f"{what} words", words, announced, unit="Quantiser")
            for _ in range(LIMIT):
                if len(self.writes) >= self.ends[number][-1]:
                    break
                await self.edge
            got = self.writes[start : self.ends[number][-1]]
            start = self.ends[number][-1]
            places = [
                ((self.slot + number) % SLOTS, seat, word)
                for seat in range(len(self.seats))
                for word in range(words)
            ]
            compare(f"{what} slot, seat, word", places, [w[:3] for w in got], unit="Quantiser")
            expected = np.zeros((len(self.seats), words * columns), np.int64)
            expected[:, :n] = job.codes[[variant for _, variant in self.seats]]
            codes = np.array([split(w[3], 8, columns) for w in got]).reshape(expected.shape)
            compare(f"{what} codes", expected, codes, unit="Quantiser", width=8)
            while self.random.random() < self.stalls.filled:
                await self.edge
            self.released += 1
            self.dut.released.value = 1
            await self.edge
            self.dut.released.value = 0

    async def run(self, name: str) -> None:
        dut, c = self.dut, self.config
        seats = [{"workspace": workspace} for workspace, _ in self.seats]
        unused = [{}] * (c.contexts - len(seats))
        seating = {"last": len(seats) - 1, "seats": [*seats, *unused]}
        dut.seating.value = pack(pass_layout(c), seating)
        for seat in range(c.contexts):
            self.unsettle(seat, self.random.getrandbits(1))
        server = cocotb.start_soon(self.serve())
        sender = cocotb.start_soon(self.give())
        taker = cocotb.start_soon(self.take_scales())
        await self.check_codes(name)
        await sender
        got = await taker
        expected = [job.scales[variant] for job in self.jobs for _, variant in self.seats]
        compare(f"scales, {name}", expected, got, c.vector, unit="ScaleUnit")
        for _ in range(3):
            await self.edge
        assert not dut.busy.value
        server.cancel()


def load(config: ChipConfig) -> tuple[list[Vectors], dict[int, int]]:
    """The commands and constant memory; sources and constants follow with gaps."""
    arrays, w, v = context.arrays(), config.vector.width, config.lanes
    rng = context.generator("addresses")
    jobs: list[Vectors] = []
    constants: dict[int, int] = {}
    source = pairs = 0
    for k, job in enumerate(context.parameters()["vectors"]):
        x, outer, gain = (arrays[f"{name}{k}"] for name in ("x", "outer", "gain"))
        n = x.shape[1]
        source += rng.randrange(3)
        pairs += rng.randrange(3)
        starts = range(0, n, v)
        command = {"n": n, "source": source, "constants": pairs, **job["command"]}
        words = [[fields(values[at : at + v], w) for at in starts] for values in x]
        jobs.append(
            Vectors(
                command,
                words,
                arrays[f"codes{k}"],
                arrays["scales"][k].tolist(),
                arrays["array_sums"][k].tolist(),
                job["kind"],
            )
        )
        for at in starts:
            constants[pairs] = fields(outer[at : at + v], w) | fields(gain[at : at + v], w) << w * v
            pairs += 1
        source += len(starts)
    assert source <= config.vector_words
    return jobs, constants


@cocotb.test()
async def vectors(dut: Any) -> None:
    """Every vector under several patterns of stalls and in several seats: all words in order."""
    p = context.parameters()
    config = ChipConfig.from_dict(p["config"])
    for port in (
        "command__valid",
        "coming",
        "filled__ready",
        "released",
        "scale__ready",
        "seating",
    ):
        getattr(dut, port).value = 0
    await context.start(dut)
    dut.eps_outer.value = p["eps_outer"]
    dut.eps_inner.value = p["eps_inner"]
    jobs, constants = load(config)
    rng = context.generator("seats")
    slot = 0
    for number, stalls in enumerate(
        (
            Stalls(0, 0, 0, 1.0, (0, 5, 30)),
            Stalls(0.5, 0.99, 0, 0.5, (0, 200)),
            Stalls(0, 0.3, 0.98, 0.1, (0, 60)),
        )
    ):
        count = config.contexts if number < 2 else rng.randrange(config.contexts) + 1
        spaces = 1 if config.contexts == 1 else 2 * config.contexts
        variants = rng.sample(range(config.contexts), count)
        seats = list(zip(rng.sample(range(spaces), count), variants, strict=True))
        cocotb.log.info("seats %s, %s", seats, stalls)
        around = Surroundings(dut, config, jobs, stalls, seats, slot)
        around.prepare(constants)
        await around.run(f"pass {number}, seats {seats}")
        assert count == 1 or around.overlaps, "no pass overlapped another"
        slot = (slot + len(jobs)) % SLOTS
