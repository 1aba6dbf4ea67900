"""Cocotb benches of stores, the weight reader and the unpackers."""

import random
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, Timer

from bench import context
from bench.mismatch import compare
from bench.streams import StreamSink, StreamSource

LONGEST = 40  # cycles of a read over the bus


class Bus:
    """Maintenance port of the store behind ports `name__bus__*`."""

    def __init__(self, dut: Any, name: str) -> None:
        self.edge = FallingEdge(dut.clk)
        ports = ("strobe", "write", "address", "write_data", "done", "read_data")
        self.strobe, self.write, self.address, self.write_data, self.done, self.read_data = (
            getattr(dut, f"{name}__bus__{port}") for port in ports
        )
        self.strobe.value = 0

    async def _strobe(self, write: int, address: int, data: int) -> None:
        self.strobe.value = 1
        self.write.value = write
        self.address.value = address
        self.write_data.value = data
        await self.edge
        self.strobe.value = 0

    async def store(self, address: int, elements: list[int], rng: random.Random) -> None:
        """Write elements one by one, sometimes with a pause."""
        for k, element in enumerate(elements):
            while rng.random() < 0.1:
                await self.edge
            await self._strobe(1, address + k, element)

    async def load(self, address: int) -> int:
        """Read one element when the store says that it is there, and a cycle later still."""
        assert not self.done.value
        await self._strobe(0, address, 0)
        for _ in range(LONGEST):
            if self.done.value:
                break
            await self.edge
        else:
            raise AssertionError(f"nothing read in {LONGEST} cycles")
        found = int(self.read_data.value)
        await self.edge
        assert not self.done.value and int(self.read_data.value) == found
        return found


def numbers(rng: random.Random, count: int, width: int) -> list[int]:
    return [rng.getrandbits(width) for _ in range(count)]


@cocotb.test()
async def bus_loads(dut: Any) -> None:
    """Load words over the bus, read them back over both ports, load pieces, read again."""
    await context.start(dut)
    for unit in context.parameters()["stores"]:
        name, element, elements = unit["name"], unit["element"], unit["elements"]
        depth, stride = unit["depth"], 1 << (elements - 1).bit_length()
        rng = context.generator(name)
        bus = Bus(dut, name)
        edge = FallingEdge(dut.clk)
        address = getattr(dut, f"{name}__read_address")
        data = getattr(dut, f"{name}__read_data")

        async def read_word(
            word: int, address: Any = address, data: Any = data, edge: Any = edge
        ) -> int:
            address.value = word
            await edge
            return int(data.value)

        expected = unit["init"] + [0] * (depth - len(unit["init"]))
        got = [await read_word(w) for w in range(len(unit["init"]))]
        compare("initial words", unit["init"], got, unit=name, width=64)

        # The elements that pad a word to a power of two are written like any other and ignored.
        pieces = [(0, depth), (depth // 3, min(5, depth // 2)), (depth - 1, 1), (0, 1)]
        for first, count in pieces:
            values = numbers(rng, count * stride, 32)
            await bus.store(first * stride, values, rng)
            for w in range(count):
                word = 0
                for k, value in enumerate(values[w * stride : w * stride + elements]):
                    word |= (value & ((1 << element) - 1)) << (k * element)
                expected[first + w] = word
            got = [await read_word(w) for w in range(depth)]
            differ = [w for w in range(depth) if got[w] != expected[w]]
            assert not differ, (
                f"{name} words {first}+{count}: {len(differ)} differ, word {differ[0]}"
                f" expected {expected[differ[0]]:#x}, got {got[differ[0]]:#x}"
            )

        # A word whose last element has not come is not written.
        if stride > 1:
            await bus.store(2 * stride, numbers(rng, stride - 1, 32), rng)
            assert await read_word(2) == expected[2], f"{name}: half a word was written"
            await bus.store(2 * stride, [0] * stride, rng)
            expected[2] = 0

        # Words beyond the memory do not come back as others.
        await bus.store(depth * stride, numbers(rng, 4 * stride, 32), rng)
        await bus.store((1 << 24) - stride, numbers(rng, stride, 32), rng)
        got = [await read_word(w) for w in range(depth)]
        differ = [w for w in range(depth) if got[w] != expected[w]]
        assert not differ, f"{name}: writes beyond the end changed words {differ[:8]}"

        at = [rng.randrange(depth * stride) for _ in range(100)] + [0, depth * stride - 1]
        want, have = [], []
        for a in at:
            word, k = divmod(a, stride)
            address.value = rng.randrange(depth)
            have.append(await bus.load(a))
            fits = k < elements
            want.append(expected[word] >> (k * element) & ((1 << element) - 1) if fits else 0)
        compare("elements read over the bus", want, have, unit=name)


@cocotb.test()
async def core_writes(dut: Any) -> None:
    """Writable stores: a write and a read every cycle; a word is seen by the next cycle's read."""
    await context.start(dut)
    edge = FallingEdge(dut.clk)
    for unit in context.parameters()["writable"]:
        name, depth, width = unit["name"], unit["depth"], unit["element"] * unit["elements"]
        rng = context.generator(name)
        port = {
            n: getattr(dut, f"{name}__{n}")
            for n in ("read_address", "read_data", "write_enable", "write_address", "write_data")
        }
        contents: list[int] = [0] * depth
        port["write_enable"].value = 1
        recent = 0
        for w in range(depth):
            contents[w] = rng.getrandbits(width)
            port["write_address"].value = w
            port["write_data"].value = contents[w]
            await edge
        for cycle in range(4 * depth):
            target, word = rng.randrange(depth), rng.getrandbits(width)
            enable = rng.random() < 0.7
            # Half of the reads follow a recent write; never the word being written now.
            read = recent if rng.random() < 0.5 else rng.randrange(depth)
            if enable and read == target:
                read = (read + 1) % depth
            port["write_enable"].value = int(enable)
            port["write_address"].value = target
            port["write_data"].value = word
            port["read_address"].value = read
            want = contents[read]
            await edge
            have = int(port["read_data"].value)
            assert have == want, (
                f"{name} word {read}, cycle {cycle}: expected {want:#x}, got {have:#x}"
            )
            if enable:
                contents[target] = word
            recent = target
        port["write_enable"].value = 0
        bus = Bus(dut, name)
        stride = 1 << (unit["elements"] - 1).bit_length()
        await bus.store(0, numbers(rng, 4 * stride, 32), rng)  # the bus only reads
        for a in range(0, depth * stride, 7):
            want = contents[a // stride] >> (a % stride * unit["element"])
            have = await bus.load(a)
            assert have == want & ((1 << unit["element"]) - 1), f"{name} element {a}"


def cut(rng: random.Random, count: int) -> list[int]:
    """Lengths of consecutive pieces of `count` words: long ones, and single words."""
    pieces = []
    while count:
        piece = min(count, rng.choice((1, 1, 2, rng.randrange(1, 20), rng.randrange(1, 300))))
        pieces.append(piece)
        count -= piece
    return pieces


class ReaderBench:
    """Bus, commands and output of one `units.harness.WeightPath`."""

    def __init__(self, dut: Any, unit: dict[str, Any]) -> None:
        self.dut, self.name, self.words = dut, unit["name"], unit["words"]
        self.rng = context.generator(self.name)
        self.bus = Bus(dut, self.name)
        self.edge = FallingEdge(dut.clk)
        self.stride = 1 << (unit["elements"] - 1).bit_length()
        self.command = StreamSource(dut, f"{self.name}__command")
        self.sink = StreamSink(dut, f"{self.name}__o")

    async def load(self, element: int) -> None:
        elements = [
            word >> (k * element) & ((1 << element) - 1)
            for word in self.words
            for k in range(self.stride)
        ]
        await self.bus.store(0, elements, self.rng)

    async def restart(self, seats: int, stall: tuple[float, float]) -> None:
        """From word 0, for other seats; stalls of commands and output."""
        getattr(self.dut, f"{self.name}__last").value = seats - 1
        getattr(self.dut, f"{self.name}__restart").value = 1
        await self.edge
        getattr(self.dut, f"{self.name}__restart").value = 0
        self.command = StreamSource(self.dut, f"{self.name}__command", stall=stall[0])
        # A new sink each time: a restart takes back the word on offer.
        self.sink = StreamSink(self.dut, f"{self.name}__o", stall=stall[1])

    async def look(self) -> None:
        """The host reads weights, which it may between passes only."""
        for _ in range(self.rng.randrange(3)):
            await self.bus.load(self.rng.randrange(len(self.words) * self.stride))

    async def read(self, pieces: list[int], seats: int, *, looks: bool) -> list[int]:
        """What those commands bring, at once or one after the other with `look` in between."""
        got = []
        for part in [[piece] for piece in pieces] if looks else [pieces]:
            sender = cocotb.start_soon(self.command.send(part))
            got += await self.sink.receive(sum(part) * seats)
            await sender
            if looks:
                await self.look()
        return got

    def expected(self, pieces: list[int], first: int, seats: int) -> list[int]:
        """What those commands bring from word `first` on: each one's words for every seat."""
        words = []
        for piece in pieces:
            words += self.words[first : first + piece] * seats
            first += piece
        return words


@cocotb.test()
async def weight_reader(dut: Any) -> None:
    """A pass's reading for every number of seats, with stalls, host reads between, and restarts."""
    await context.start(dut)
    for unit in context.parameters()["paths"]:
        bench = ReaderBench(dut, unit)
        rng, name, total = bench.rng, bench.name, len(unit["words"])
        valid = getattr(dut, f"{name}__o__valid")
        await bench.load(unit["element"])
        assert not valid.value, f"{name}: words before the first restart"
        body = total * 3 // 4
        for stall in ((0.0, 0.0), (0.0, 0.5), (0.8, 0.0), (0.5, 0.9)):
            for seats in range(1, unit["contexts"] + 1):
                await bench.restart(seats, stall)
                for first, count, looks in ((0, body, False), (body, total - body, True)):
                    pieces = cut(rng, count)
                    want = bench.expected(pieces, first, seats)
                    start = cocotb.utils.get_sim_time("step")
                    got = await bench.read(pieces, seats, looks=looks)
                    cycles = (cocotb.utils.get_sim_time("step") - start) // unit["period"]
                    if stall == (0.0, 0.0) and not looks:
                        limit = len(want) + 8
                        assert cycles <= limit, f"{name}: {len(want)} words in {cycles} cycles"
                    differ = [w for w in range(len(want)) if got[w] != want[w]]
                    assert not differ, (
                        f"{name} stall {stall}, {seats} seats: {len(differ)} of {len(want)}"
                        f" differ, word {differ[0]} expected {want[differ[0]]:#x},"
                        f" got {got[differ[0]]:#x}"
                    )
                    for _ in range(12):  # no word that nobody asked for
                        await bench.edge
                        assert not valid.value, f"{name}: words after the last command"
        # Restart in the middle, while words wait and a command is under way.
        for _ in range(4):
            seats = rng.randrange(1, unit["contexts"] + 1)
            await bench.restart(seats, (0.0, 0.3))
            pieces = cut(rng, total)
            want = bench.expected(pieces, 0, seats)
            count = rng.randrange(1, len(want))
            sender = cocotb.start_soon(bench.command.send(pieces))
            got = await bench.sink.receive(count)
            assert got == want[:count], f"{name}: after a restart"
            sender.cancel()
            bench.command.valid.value = 0


@cocotb.test()
async def unpackers(dut: Any) -> None:
    """Every byte of the trit packing; random words of both packings."""
    arrays = context.arrays()
    await context.start(dut)
    table = arrays["decode"]
    got = []
    for byte in range(256):
        dut.unpackers__byte.value = byte
        await Timer(1, "ns")
        pairs = int(dut.unpackers__pairs.value)
        got.append([(pairs >> (2 * k)) & 3 for k in range(5)])
    compare("pairs of a byte", np.array([0b00, 0b01, 0b11])[table], got, unit="decode_trits")
    for k in range(context.parameters()["configs"]):
        for packed, codes in zip(arrays[f"packed{k}"], arrays[f"codes{k}"], strict=True):
            getattr(dut, f"unpackers__packed{k}").value = int.from_bytes(packed.tobytes(), "little")
            await Timer(1, "ns")
            word = int(getattr(dut, f"unpackers__weights{k}").value)
            have = [(word >> (2 * i)) & 3 for i in range(len(codes))]
            compare(
                f"weights of configuration {k}",
                np.abs(codes) + 2 * (codes < 0),
                have,
                unit="unpack_weights",
                width=2,
            )
