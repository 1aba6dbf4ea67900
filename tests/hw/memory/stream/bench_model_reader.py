"""Cocotb bench of a model reader: records under stalls, broken off, with rows beside them."""

from collections import deque
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from bench import context
from bench.streams import StreamSink, StreamSource
from setun.firmware.image.records import INSTRUCTION_BITS


class Memory:
    """A controller's far side, `outer_read` and `outer_o`: bursts in order, at random pace."""

    def __init__(self, dut: Any, beat: int, burst: int, contents: bytes) -> None:
        self.dut, self.burst = dut, burst
        size = beat // 8
        self.beats = [
            int.from_bytes(contents[k : k + size], "little") for k in range(0, len(contents), size)
        ]
        self.bits = (len(self.beats) - 1).bit_length()
        self.random = context.generator("memory")
        self.stall = self.random.choice((0.0, 0.3, 0.7))
        self.waiting: deque[int] = deque()
        dut.outer_read__ready.value = dut.outer_o__valid.value = 0

    async def serve(self) -> None:
        """Answers for ever; a request must keep within its burst, and stay until it is taken."""
        offered = None
        edge = FallingEdge(self.dut.clk)
        while True:
            takes = self.random.random() >= self.stall
            gives = bool(self.waiting) and self.random.random() >= self.stall
            self.dut.outer_read__ready.value = int(takes)
            self.dut.outer_o__valid.value = int(gives)
            if gives:
                self.dut.outer_o__payload.value = self.beats[self.waiting[0]]
            await ReadOnly()
            request = None
            if self.dut.outer_read__valid.value:
                request = int(self.dut.outer_read__payload.value)
            assert offered is None or request == offered, "a request on offer changed"
            offered = None if takes else request
            if gives and self.dut.outer_o__ready.value:
                self.waiting.popleft()
            if takes and request is not None:
                address, count = request & ((1 << self.bits) - 1), request >> self.bits
                assert 1 <= count <= self.burst - address % self.burst, (address, count)
                self.waiting += range(address, address + count)
            await edge


class Store:
    """One side of the reader, `gains` or `gates`: blocks are begun, read, compared and freed."""

    def __init__(self, dut: Any, name: str, word: int) -> None:
        self.dut, self.name, self.word = dut, name, word
        self.random = context.generator(name)
        for port in ("begun", "freed", "address"):
            self.port(port).value = 0

    def port(self, name: str) -> Any:
        return getattr(self.dut, f"{self.name}__{name}")

    async def strobe(self, name: str) -> None:
        self.port(name).value = 1
        await FallingEdge(self.dut.clk)
        self.port(name).value = 0

    async def use(self, blocks: list[tuple[int, list[int]]], limit: int = 100_000) -> None:
        """Blocks in order: first word, and the words that it must hold."""
        for first, words in blocks:
            for _ in range(limit):
                if self.port("ready").value:
                    break
                await FallingEdge(self.dut.clk)
            else:
                raise AssertionError(f"{self.name}: no block came")
            await self.strobe("begun")
            for _ in range(self.random.randrange(60)):
                await FallingEdge(self.dut.clk)
            for k, wanted in enumerate(words):
                self.port("address").value = first + k
                await FallingEdge(self.dut.clk)
                got = int(self.port("data").value)
                assert got == wanted, f"{self.name} word {first + k}: {got:#x}, not {wanted:#x}"
            await self.strobe("freed")


async def strobe(dut: Any, name: str) -> None:
    getattr(dut, name).value = 1
    await FallingEdge(dut.clk)
    getattr(dut, name).value = 0


async def take(sink: StreamSink, wanted: list[int], what: str) -> None:
    got = await sink.receive(len(wanted), limit=500_000)
    for k, (g, w) in enumerate(zip(got, wanted, strict=True)):
        assert g == w, f"{what} {k}: {g:#x}, not {w:#x}"


async def tokens(dut: Any, model: dict[str, Any], count: int) -> None:
    """Whole tokens and some that are broken off, rows beside them."""
    rng = context.generator("tokens")
    numbers = {key: [int(word, 16) for word in model[key]] for key in ("weights", "instructions")}
    for key in ("gains", "gates"):
        numbers[key] = [(first, [int(w, 16) for w in words]) for first, words in model[key]]
    for _ in range(count):
        broken = rng.random() < 0.3
        share = rng.random() if broken else 1.0
        stall = rng.choice((0.0, 0.2, 0.8))
        await strobe(dut, "restart")
        whole = {key: words[: round(share * len(words))] for key, words in numbers.items()}
        if model["kept"]:
            whole["gains"] = whole["gates"] = []
        tasks = [
            cocotb.start_soon(take(StreamSink(dut, key, stall=stall), whole[key], key))
            for key in ("weights", "instructions")
        ]
        tasks.append(cocotb.start_soon(rows(dut, model, rng.randrange(4))))
        if broken:
            # What a block's reader waits for may lie behind weights that nobody takes.
            for _ in range(rng.randrange(3000)):
                await FallingEdge(dut.clk)
            for task in tasks:
                task.kill()
            for name in ("weights__ready", "instructions__ready", "o__ready", "row__valid"):
                getattr(dut, name).value = 0
            await FallingEdge(dut.clk)
            continue
        tasks += [
            cocotb.start_soon(Store(dut, key, model[f"{key}_word"]).use(whole[key]))
            for key in ("gains", "gates")
        ]
        for task in tasks:
            await task


async def rows(dut: Any, model: dict[str, Any], count: int) -> None:
    """Rows of the embedding; a restart drops the one under way."""
    rng = context.generator("rows")
    source = StreamSource(dut, "row", stall=rng.choice((0.0, 0.9)))
    sink = StreamSink(dut, "o", stall=rng.choice((0.0, 0.5)))
    bits = model["address_bits"]
    for _ in range(count):
        row = rng.choice(model["rows"])
        beats = [int(beat, 16) for beat in row["beats"]]
        send = cocotb.start_soon(source.send([row["address"] | len(beats) << bits]))
        await take(sink, beats, f"row at {row['address']}")
        await send


@cocotb.test()
async def reads(dut: Any) -> None:
    """Tokens and rows side by side; then what stayed on the chip is still there."""
    about = context.parameters()
    model = about["model"]
    for name in ("restart", "changed", "weights_req__valid", "weights_rsp__ready"):
        getattr(dut, name).value = 0
    for name in ("weights__ready", "instructions__ready", "o__ready", "row__valid"):
        getattr(dut, name).value = 0
    stores = [Store(dut, key, model[f"{key}_word"]) for key in ("gains", "gates")]
    memory = Memory(dut, about["beat"], about["burst"], bytes.fromhex(about["contents"]))
    await context.start(dut)
    cocotb.start_soon(memory.serve())
    assert INSTRUCTION_BITS == len(dut.instructions__payload)
    for turn in range(2):
        await tokens(dut, model, about["tokens"])
        if model["kept"]:
            for store in stores:
                await store.use(
                    [(first, [int(w, 16) for w in words]) for first, words in model[store.name]]
                )
        if turn == 0:
            await strobe(dut, "changed")
    assert not dut.fault.value


@cocotb.test()
async def refuses(dut: Any) -> None:
    """Blank memory is no model: nothing comes, and a fault is told."""
    about = context.parameters()
    for name in ("restart", "changed", "weights__ready", "instructions__ready", "o__ready"):
        getattr(dut, name).value = 0
    for name in ("row__valid", "weights_req__valid", "weights_rsp__ready"):
        getattr(dut, name).value = 0
    for key in ("gains", "gates"):
        Store(dut, key, 0)
    memory = Memory(dut, about["beat"], about["burst"], bytes(len(about["contents"]) // 2))
    await context.start(dut)
    cocotb.start_soon(memory.serve())
    await strobe(dut, "restart")
    for _ in range(1000):
        await FallingEdge(dut.clk)
        assert not dut.weights__valid.value and not dut.instructions__valid.value
    assert dut.fault.value
