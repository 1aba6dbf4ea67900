"""Cocotb bench of the unit of attention: memories around it, and its twins beside it."""

from collections.abc import Callable
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from bench import context
from bench.mismatch import compare
from bench.streams import pack
from hw.array.bench_array import fields
from setun.firmware.config import ChipConfig
from setun.firmware.image.turns import TURN_BITS
from setun.firmware.numerics import rotary
from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.attention import Attention, Heads
from setun.firmware.program.isa import Op
from setun.hw.attention.cache import LATENCY
from setun.hw.commands import attention_command
from setun.hw.seats import pass_layout, workspaces

KEYS = 2  # heads of keys and of values in each layer
PASSES = 24
QUERY, KEY, VALUE = 0, 128, 192  # first elements of the vectors
KINDS: dict[str, Callable[[np.random.Generator, Any], Any]] = {
    "plain": lambda rng, shape: rng.normal(size=shape),
    "equal": lambda rng, shape: np.ones(shape),
    "far apart": lambda rng, shape: (
        rng.normal(size=shape) * 2.0 ** rng.uniform(-30, 12, shape[:1])[:, None]
    ),
    "dead channels": lambda rng, shape: (
        rng.normal(size=shape) * np.where(rng.random(shape) < 0.5, 1e-32, 1.0)
    ),
    "dead heads": lambda rng, shape: (
        rng.normal(size=shape) * np.where(rng.random(shape[:1]) < 0.5, 0.0, 1e-32)[:, None]
    ),
    "large": lambda rng, shape: rng.normal(size=shape) * 1e6,
    "one left": lambda rng, shape: np.eye(*shape) * -3.0,
}


class Surroundings:
    """Memories of vectors, constants and the cache, as the unit sees them."""

    def __init__(self, dut: Any, config: ChipConfig) -> None:
        self.dut, self.config = dut, config
        self.edge = FallingEdge(dut.clk)
        self.random = context.generator("memories")
        self.vector: dict[int, int] = {}
        self.constants: dict[int, int] = {}
        self.cache: dict[int, int] = {}
        self.late = [0] * LATENCY

    def noise(self, bits: int) -> int:
        return self.random.getrandbits(bits)

    async def run(self) -> None:
        dut, c = self.dut, self.config
        word, pair = c.vector.width * c.lanes, 2 * c.vector.width * c.lanes
        coded = 8 * (c.attention + 1)
        while True:
            await self.edge
            vector = self.vector.get(int(dut.vector_address.value))
            constant = self.constants.get(int(dut.constant_address.value))
            cached = self.cache.get(int(dut.cache_address.value))
            self.late = [self.noise(coded) if cached is None else cached, *self.late[:-1]]
            if dut.write.value:
                self.vector[int(dut.vector_write.value)] = int(dut.write_data.value)
            if dut.cache_write.value:
                self.cache[int(dut.cache_write_address.value)] = int(dut.cache_word.value)
            # Values for the cycle that begins with the next rising edge.
            await cocotb.triggers.RisingEdge(dut.clk)
            dut.vector_data.value = self.noise(word) if vector is None else vector
            dut.constant_data.value = self.noise(pair) if constant is None else constant
            dut.cache_data.value = self.late[-1]

    def at(self, element: int, workspace: int) -> int:
        """Address of a word of a workspace, which start at powers of two."""
        local, c = element // self.config.lanes, self.config
        if c.contexts == 1:
            return local
        return workspace << (c.vector_words - 1).bit_length() | local

    def put(self, element: int, workspace: int, values: np.ndarray) -> None:
        c = self.config
        bits = c.vector.to_bits(values).astype(np.int64).reshape(-1, c.lanes)
        for k, word in enumerate(bits):
            self.vector[self.at(element, workspace) + k] = fields(word, c.vector.width)

    def get(self, element: int, workspace: int, count: int) -> list[int]:
        c, mask = self.config, (1 << self.config.vector.width) - 1
        first = self.at(element, workspace)
        words = [self.vector[first + k] for k in range(count // c.lanes)]
        return [w >> (k * c.vector.width) & mask for w in words for k in range(c.lanes)]


class Bench:
    """Passes with random seats, their vectors, and what the twins make of them."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.config = c = ChipConfig.from_dict(context.parameters()["config"])
        self.around = Surroundings(dut, c)
        self.random = context.generator("passes")
        self.rng = np.random.default_rng(context.seed())
        self.compute, self.attention = Arithmetic(c.numerics), Attention(c.numerics)
        self.head = c.head_elements
        self.turns = rotary.increments(1e4, self.head)
        self.first_turn = 24  # words
        padded = np.zeros(-(-self.turns.size // c.lanes) * c.lanes, np.int64)
        padded[: self.turns.size] = self.turns
        self.first_gain = 64  # words
        for k, word in enumerate(padded.reshape(-1, c.lanes)):
            low, high = word & ((1 << TURN_BITS) - 1), word >> TURN_BITS
            both = fields(np.concatenate([low, high]), c.vector.width)
            self.around.constants[self.first_turn + k] = both
        self.positions = [0] * c.contexts  # that each context has held
        self.held: dict[tuple[int, int], list[Heads]] = {}  # by context and region

    async def command(
        self, op: Op, element: int, heads: int, keys: int = 0, values: int = 0
    ) -> None:
        c, dut = self.config, self.dut
        for _ in range(self.random.choice((0, 0, 1, 5))):
            await self.around.edge
        payload = {
            "op": op,
            "words": heads * self.head // c.lanes,
            "source": element // c.lanes,
            "head": self.head // c.lanes,
            "parts": self.head // c.attention,
            "group": heads // KEYS,
            "keys": keys // c.attention,
            "values": values // c.attention,
            "constants": self.first_gain if op is Op.NORM else self.first_turn,
        }
        dut.command__payload.value = pack(attention_command(c), payload)
        dut.command__valid.value = 1
        for _ in range(20_000):
            # Settled before the rising edge: accepted with it.
            await cocotb.triggers.ReadOnly()
            done = bool(dut.command__ready.value)
            await self.around.edge
            if done:
                break
        else:
            raise AssertionError(f"{op.name} was not accepted")
        dut.command__valid.value = 0
        dut.command__payload.value = self.random.getrandbits(attention_command(c).size)

    def seats(self) -> list[dict[str, int]]:
        """Some contexts, some of them twice; a context that is full begins anew."""
        c = self.config
        found: list[dict[str, int]] = []
        order = self.random.sample(range(c.contexts), c.contexts)
        used: dict[int, int] = {}
        for where in order + self.random.choices(range(c.contexts), k=c.contexts):
            if len(found) == c.contexts or (found and self.random.random() < 0.2):
                break
            before = used.get(where, 0)
            fresh = before == 0 and (
                self.positions[where] == 0 or self.positions[where] >= c.positions - c.contexts
            )
            if fresh:
                self.positions[where] = 0
            # A workspace of its own for each seat, whoever sits there.
            spot = len(found) + c.contexts if c.contexts > 1 else 0
            found.append(
                {
                    "workspace": spot,
                    "context": where,
                    "chained": int(before > 0),
                    "fresh": int(fresh),
                }
            )
            used[where] = before + 1
        return found

    async def run_pass(self) -> None:
        c, dut, rng = self.config, self.dut, self.rng
        found = self.seats()
        unused = {"workspace": 0, "context": 0, "chained": 0, "fresh": self.random.getrandbits(1)}
        seating = {"last": len(found) - 1, "seats": found + [unused] * (c.contexts - len(found))}
        dut.seating.value = pack(pass_layout(c), seating)
        dut.begin.value = 1
        await self.around.edge
        dut.begin.value = 0
        for _ in range(c.contexts + 1):
            await self.around.edge
        places = []
        for seat in found:
            places.append(self.positions[seat["context"]])
            self.positions[seat["context"]] += 1
        for layer in range(2):
            group = self.random.choice((1, 2, 3, 4))
            queries, kind = KEYS * group, self.random.choice(list(KINDS))
            # Heads lie within the vector's room.
            queries = min(queries, (KEY - QUERY) // self.head // KEYS * KEYS)
            sizes = {QUERY: queries, KEY: KEYS, VALUE: KEYS}
            given = []
            for seat in found:
                own = {}
                for element, heads in sizes.items():
                    values = c.vector.round(KINDS[kind](rng, (heads, self.head)))
                    own[element] = values
                    self.around.put(element, seat["workspace"], values)
                given.append(own)
            regions = [2 * layer * KEYS * self.head, (2 * layer + 1) * KEYS * self.head]
            for element in (QUERY, KEY) if c.head_norms else ():
                gains, eps = self.norms()
                await self.command(Op.NORM, element, sizes[element])
                for seat, place, own in zip(found, places, given, strict=True):
                    own[element] = self.compute.head_norm(own[element], gains, eps)
                    self.check(f"normed at {place}, {kind}", element, seat, own[element])
            for element in (QUERY, KEY):
                await self.command(Op.ROTATE, element, sizes[element])
                for seat, place, own in zip(found, places, given, strict=True):
                    phase = rotary.phases(self.turns, place)
                    own[element] = rotary.rotated(self.compute, own[element], phase)
                    self.check(f"rotated at {place}, {kind}", element, seat, own[element])
            for element, region in zip((KEY, VALUE), regions, strict=True):
                await self.command(Op.CACHE, element, KEYS, region)
                for seat, place, own in zip(found, places, given, strict=True):
                    coded = self.attention.coded(own[element])
                    held = self.held.setdefault((seat["context"], region), [])
                    del held[place:]
                    held.append(coded)
                    self.check_cache(f"cached at {place}, {kind}", region, seat, place, coded)
            await self.command(Op.ATTEND, QUERY, queries, *regions)
            for seat, place, own in zip(found, places, given, strict=True):
                keys, values = (self.stacked(seat["context"], r, place + 1) for r in regions)
                want = self.attention(own[QUERY], keys, values)
                self.check(f"attended at {place}, {kind}, {queries} heads", QUERY, seat, want)

    def norms(self) -> tuple[np.ndarray, float]:
        """Gains of both signs, some dead, and an epsilon: those of the next norm."""
        c, rng, around = self.config, self.rng, self.around
        fmt = c.vector
        gains = rng.normal(size=self.head) * self.random.choice((1.0, 1e3))
        gains[rng.random(self.head) < 0.2] = self.random.choice((0.0, 1e-32, -1e-32))
        gains = fmt.round(gains)
        bits = fmt.to_bits(gains).astype(np.int64).reshape(-1, c.lanes)
        for k, word in enumerate(bits):
            others = [self.random.getrandbits(fmt.width) for _ in word]
            both = fields(np.concatenate([others, word]), fmt.width)
            around.constants[self.first_gain + k] = both
        eps = fmt.round1(self.random.choice((1e-5, 1e-6 * self.head, 3.0)))
        self.dut.eps.value = int(fmt.to_bits(eps)[0])
        return gains, eps

    def stacked(self, where: int, region: int, count: int) -> Heads:
        held = self.held[where, region][:count]
        return Heads(*(np.stack(each) for each in zip(*held, strict=True)))

    def check(self, name: str, element: int, seat: dict[str, int], want: np.ndarray) -> None:
        fmt = self.config.vector
        bits = fmt.to_bits(want.ravel()).astype(np.int64)
        got = self.around.get(element, seat["workspace"], bits.size)
        for k, (expected, found) in enumerate(zip(bits.tolist(), got, strict=True)):
            compare(f"{name}, element {k}", expected, found, unit="Attention", width=fmt.width)

    def check_cache(
        self, name: str, region: int, seat: dict[str, int], place: int, coded: Heads
    ) -> None:
        c = self.config
        parts = self.head // c.attention
        unit = coded.exponent + c.vector.bias + 6  # the exponent's field
        for head, codes in enumerate(coded.codes.astype(np.int64)):
            for part, some in enumerate(codes.reshape(parts, c.attention)):
                word = region // c.attention + head * parts + part
                if c.contexts > 1:
                    word = word * c.contexts + seat["context"]
                at = word << (c.positions - 1).bit_length() | place
                expected = fields(some, 8) | int(unit[head]) << (8 * c.attention)
                compare(name, expected, self.around.cache[at], unit="Attention", width=8)


@cocotb.test()
async def commands(dut: Any) -> None:
    """Passes of random seats, contexts filled to the last position and begun anew."""
    dut.command__valid.value = 0
    dut.begin.value = 0
    dut.command__payload.value = 0
    dut.seating.value = 0
    bench = Bench(dut)
    if bench.config.head_norms:
        dut.eps.value = 0
    await context.start(dut)
    assert workspaces(bench.config) in (1, 2 * bench.config.contexts)
    cocotb.start_soon(bench.around.run())
    for _ in range(PASSES):
        await bench.run_pass()
