"""Cocotb bench of the sampler."""

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, ReadOnly

from bench import context
from bench.mismatch import compare
from bench.streams import pack
from hw.array.bench_array import fields
from hw.vector.sink_jobs import order
from setun.firmware.config import ChipConfig
from setun.hw.seats import pass_layout
from setun.hw.vector.sink import logits_layout

LATE = 3  # passes, at most, that go by before a context's generation begins


class Generation:
    """What one context samples: rows of logits, and the tokens that they give."""

    def __init__(self, number: int, start: int) -> None:
        arrays = context.arrays()
        job = context.parameters()["generations"][number]
        self.name = f"generation {number} ({job['kind']})"
        self.factor, self.seed, self.gaps = job["factor"], job["seed"], job["gaps"]
        self.logits, self.tokens = arrays[f"logits{number}"], arrays[f"tokens{number}"]
        self.start = start  # pass before which it begins
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.tokens) - self.at


class Bench:
    """The sampler's surroundings: requests of contexts, seats and the sink's logits."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.config = ChipConfig.from_dict(context.parameters()["config"])
        self.random = context.generator("gaps")
        self.edge = FallingEdge(dut.clk)
        self.cycle = 0
        self.seen: list[tuple[int, int]] = []  # cycles and tokens of the `done` strobes
        self.greedy = self.random.getrandbits(self.config.contexts)
        self.factors = [0] * self.config.contexts

    async def watch(self) -> None:
        while True:
            await self.edge
            await ReadOnly()
            self.cycle += 1
            if self.dut.done.value:
                self.seen.append((self.cycle, int(self.dut.token.value)))

    async def load(self, where: int, generation: Generation, wait: int) -> None:
        """Begin a context's generation, which may be while others are sampled."""
        dut, bit = self.dut, 1 << where
        for _ in range(wait):
            await self.edge
        self.greedy = self.greedy & ~bit | (bit if generation.factor is None else 0)
        self.factors[where] = generation.factor or 0
        dut.greedy.value = self.greedy
        dut.factor.value = fields(np.array(self.factors), self.config.vector.width)
        dut.seed.value, dut.loaded.value, dut.load.value = generation.seed, where, 1
        await self.edge
        dut.load.value = 0
        dut.seed.value = self.random.getrandbits(32)

    async def sample(self, seats: dict[int, Generation]) -> None:
        """A token of each of these contexts, seated in this order."""
        dut, c = self.dut, self.config
        fmt, lanes = c.vector, c.lanes
        rows = [generation.logits[generation.at] for generation in seats.values()]
        count = len(rows[0])
        used = [{"context": where} for where in seats]
        unused = [{"context": self.random.randrange(c.contexts)}] * (c.contexts - len(used))
        seating = {"last": len(used) - 1, "seats": [*used, *unused]}
        dut.seating.value = pack(pass_layout(c), seating)
        dut.count.value = count
        dut.start.value = 1
        await self.edge
        dut.start.value = 0
        dut.count.value = self.random.getrandbits(16)  # it was taken with the strobe
        words = -(-count // lanes)
        # Beyond the count lies what would win.
        padded = np.full((len(rows), words * lanes), fmt.to_bits(fmt.largest)[0], np.int64)
        padded[:, :count] = rows
        self.seen.clear()
        gaps = self.random.choice([generation.gaps for generation in seats.values()])
        layout, last = logits_layout(c), 0
        for word, seat in order(c, words, len(rows)):
            for _ in range(self.random.choice(gaps)):
                await self.edge
            values = padded[seat, word * lanes : (word + 1) * lanes].tolist()
            item = pack(layout, {"word": word, "seat": seat, "values": values})
            dut.logits__payload.value = item
            dut.logits__valid.value = 1
            await self.edge
            dut.logits__valid.value = 0
            dut.logits__payload.value = self.random.getrandbits(layout.size)
            last = self.cycle
            for _ in range(lanes - 1):
                await self.edge
        for _ in range(12):
            await self.edge
        self.check(seats, last)

    def check(self, seats: dict[int, Generation], last: int) -> None:
        fmt, lanes = self.config.vector, self.config.lanes
        whole = ", ".join(f"{g.name} token {g.at}" for g in seats.values())
        assert len(self.seen) == 1, f"{whole}: {len(self.seen)} strobes"
        cycle, tokens = self.seen[0]
        for seat, generation in enumerate(seats.values()):
            logits = generation.logits[generation.at]
            expected = int(generation.tokens[generation.at])
            token = tokens >> (16 * seat) & 0xFFFF
            shown = [
                f"{fmt.from_bits(logits[t]):g}" for t in (expected, min(token, len(logits) - 1))
            ]
            name = f"{generation.name} token {generation.at} in seat {seat}, logits {shown}"
            compare(name, expected, token, unit="Sampler", width=16)
            generation.at += 1
        assert cycle - last <= lanes + 6, f"{whole}: {cycle - last} cycles"


@cocotb.test()
async def tokens(dut: Any) -> None:
    """Generations of several tokens in every context: every token, and its strobe in time."""
    for port in ("start", "load", "logits__valid"):
        getattr(dut, port).value = 0
    await context.start(dut)
    bench = Bench(dut)
    cocotb.start_soon(bench.watch())
    rng, contexts = bench.random, bench.config.contexts
    for batch in context.parameters()["batches"]:
        places = rng.sample(range(contexts), len(batch))
        starts = [0, *(rng.randrange(LATE) for _ in batch[1:])]
        every = {w: Generation(k, s) for w, k, s in zip(places, batch, starts, strict=True)}
        for where, generation in every.items():
            if not generation.start:
                await bench.load(where, generation, 0)
        number = 0
        while any(generation.left for generation in every.values()):
            # Those that begin with the next pass are loaded during this one.
            loads = [
                cocotb.start_soon(bench.load(where, generation, 5 * where + rng.randrange(4)))
                for where, generation in every.items()
                if generation.start == number + 1
            ]
            ready = [w for w, g in every.items() if g.start <= number and g.left]
            if ready:
                seated = rng.sample(ready, rng.randint(1, len(ready)))
                await bench.sample({where: every[where] for where in seated})
            for task in loads:
                await task
            number += 1
