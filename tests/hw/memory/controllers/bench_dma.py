"""Cocotb benches of gearboxes and of weight DMAs on a modelled controller."""

from collections import deque
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly
from cocotb.utils import get_sim_time

from bench import context
from bench.streams import StreamSink, StreamSource

PERIOD_STEPS = 10_000  # of the benches' clock, in picoseconds


def now() -> int:
    """Cycles since the simulation began."""
    return int(get_sim_time("step")) // PERIOD_STEPS


def cut(data: bytes, bits: int) -> list[int]:
    """Whole little-endian words of `bits` bits."""
    step = bits // 8
    return [int.from_bytes(data[k : k + step], "little") for k in range(0, len(data), step)][
        : len(data) // step
    ]


class Controller:
    """A controller behind ports `name__read` and `name__i`, with the contents `data`.

    Parameters
    ----------
    latency
        Cycles from a request to its first beat at the earliest.
    stall
        Probability that a cycle takes no request, and that it gives no beat.
    """

    def __init__(
        self, dut: Any, unit: dict[str, Any], data: bytes, latency: int, stall: float
    ) -> None:
        name, self.unit = unit["name"], unit
        self.beats = cut(data, unit["beat"])
        self.latency, self.stall = latency, stall
        self.random = context.generator(f"controller {name}")
        self.edge = FallingEdge(dut.clk)
        read, i = f"{name}__read__", f"{name}__i__"
        self.valid, self.ready = getattr(dut, read + "valid"), getattr(dut, read + "ready")
        self.request = getattr(dut, read + "payload")
        self.quiet = getattr(dut, f"{name}__quiet")
        self.o_valid, self.o_ready = getattr(dut, i + "valid"), getattr(dut, i + "ready")
        self.payload = getattr(dut, i + "payload")
        self.ready.value = self.o_valid.value = 0
        self.waiting: deque[tuple[int, int]] = deque()  # cycle it may appear in, address
        self.requests = self.given = 0
        self.server = cocotb.start_soon(self._serve())

    def _take(self, request: int) -> None:
        bits = (len(self.beats) - 1).bit_length()
        address, count = request & ((1 << bits) - 1), request >> bits
        burst = self.unit["burst"]
        assert address % burst == 0, f"request at {address}, not a multiple of {burst}"
        assert count == min(burst, len(self.beats) - address), f"{count} beats from {address}"
        self.requests += 1
        self.waiting += [(now() + self.latency, address + k) for k in range(count)]

    async def _serve(self) -> None:
        """Answer for ever, checking every request and that no beat is refused."""
        offered = None
        while True:
            takes = self.random.random() >= self.stall
            gives = bool(self.waiting) and self.waiting[0][0] <= now()
            gives = gives and self.random.random() >= self.stall
            self.ready.value, self.o_valid.value = int(takes), int(gives)
            if gives:
                self.payload.value = self.beats[self.waiting.popleft()[1]]
            await ReadOnly()
            request = int(self.request.value) if self.valid.value else None
            assert offered is None or request == offered, "a request on offer changed"
            offered = None if takes else request
            assert self.o_ready.value or not gives, "a beat was refused"
            if request is not None or self.waiting or gives:
                assert not self.quiet.value, "quiet while a request is on its way"
            if takes and request is not None:
                self._take(request)
            self.given += gives
            await self.edge


def memory(unit: dict[str, Any]) -> bytes:
    return context.generator(f"memory {unit['name']}").randbytes(unit["capacity"])


async def strobe(dut: Any, name: str, count: int = 1) -> None:
    restart = getattr(dut, f"{name}__restart")
    restart.value = 1
    for _ in range(count):
        await FallingEdge(dut.clk)
    restart.value = 0


async def stop(dut: Any, control: Controller) -> None:
    """Hold the DMA, answer what is on its way, and end the controller."""
    hold = getattr(dut, f"{control.unit['name']}__hold")
    hold.value = 1
    for _ in range(100_000):
        await FallingEdge(dut.clk)
        if control.quiet.value:
            break
    else:
        raise AssertionError(f"{control.unit['name']}: beats are missing")
    control.server.kill()
    control.ready.value = control.o_valid.value = hold.value = 0


def check(name: str, got: list[int], want: list[int]) -> None:
    differ = [k for k, (g, w) in enumerate(zip(got, want, strict=True)) if g != w]
    assert not differ, (
        f"{name}: {len(differ)} of {len(want)} words differ, word {differ[0]}"
        f" expected {want[differ[0]]:#x}, got {got[differ[0]]:#x}"
    )


@cocotb.test()
async def gearboxes(dut: Any) -> None:
    """Every ratio, under stalls of both sides, and at its full rate."""
    await context.start(dut)
    for unit in context.parameters()["gearboxes"]:
        name, i_bits, o_bits = unit["name"], unit["i_bits"], unit["o_bits"]
        data = context.generator(name).randbytes(300 * i_bits * o_bits // (8 * unit["gcd"]) // 8)
        beats, words = cut(data, i_bits), cut(data, o_bits)
        for stalls in ((0.0, 0.0), (0.4, 0.4), (0.0, 0.8), (0.8, 0.0)):
            source = StreamSource(dut, f"{name}__i", stall=stalls[0])
            sink = StreamSink(dut, f"{name}__o", stall=stalls[1])
            # Whole periods of the ratio, so that the next round starts with nothing left over.
            whole = len(beats) // unit["i_period"]
            start = now()
            sender = cocotb.start_soon(source.send(beats[: whole * unit["i_period"]]))
            count = whole * unit["o_period"]
            got = await sink.receive(count)
            cycles = now() - start
            await sender
            check(f"{name} stalls {stalls}", got, words[:count])
            if stalls == (0.0, 0.0):
                narrow = max(whole * unit["i_period"], count)
                assert narrow <= cycles <= narrow + 5, f"{name}: {cycles} cycles for {narrow}"


@cocotb.test()
async def full_rate(dut: Any) -> None:
    """An ideal controller and a ready array: one beat or word a cycle, to the memory's end."""
    await context.start(dut)
    for unit in context.parameters()["dmas"]:
        name = unit["name"]
        data = memory(unit)
        control = Controller(dut, unit, data, latency=unit["latency"], stall=0.0)
        words = cut(data, unit["weight_bits"])
        sink = StreamSink(dut, f"{name}__o")
        await strobe(dut, name)
        start = now()
        check(name, await sink.receive(len(words)), words)
        cycles = now() - start
        narrow = max(len(control.beats), len(words))
        # Request, latency, gearbox and queue once; then no bubble.
        assert narrow <= cycles <= narrow + unit["latency"] + 10, f"{name}: {cycles} for {narrow}"
        for _ in range(50):
            await FallingEdge(dut.clk)
        assert control.given == len(control.beats), f"{name}: read beyond the memory's end"
        await stop(dut, control)


@cocotb.test()
async def restarts(dut: Any) -> None:
    """Restarts in any cycle, in a row, under stalls of the controller and of the array."""
    await context.start(dut)
    for unit in context.parameters()["dmas"]:
        name = unit["name"]
        rng = context.generator(f"restarts {name}")
        data = memory(unit)
        control = Controller(dut, unit, data, latency=unit["latency"], stall=0.2)
        words = cut(data, unit["weight_bits"])
        for turn in range(60):
            await strobe(dut, name, rng.choice((1, 1, 1, 2, 5)))
            for _ in range(rng.choice((0, 0, 1, 3, unit["latency"], 100))):
                await FallingEdge(dut.clk)
            if rng.random() < 0.4:
                continue  # the next restart finds beats on their way
            count = rng.randrange(1, min(len(words), 60))
            stall = rng.choice((0.0, 0.3, 0.9))
            got = await StreamSink(dut, f"{name}__o", stall=stall).receive(count)
            check(f"{name} restart {turn}", got, words[:count])
        await stop(dut, control)


@cocotb.test()
async def pauses(dut: Any) -> None:
    """The array pauses: the queue fills to its depth, then words come one a cycle."""
    await context.start(dut)
    for unit in context.parameters()["dmas"]:
        name = unit["name"]
        data = memory(unit)
        control = Controller(dut, unit, data, latency=unit["latency"], stall=0.0)
        words = cut(data, unit["weight_bits"])
        await strobe(dut, name)
        for _ in range(unit["latency"] + 2 * unit["depth"] + 20):
            await FallingEdge(dut.clk)
        floor = unit["depth"] - unit["burst"]
        assert control.given > floor, f"{name}: {control.given} beats ahead, depth {unit['depth']}"
        queued = floor * unit["beat"] // unit["weight_bits"]
        sink = StreamSink(dut, f"{name}__o")
        start = now()
        got = await sink.receive(queued)
        assert now() - start == queued, f"{name}: {now() - start} cycles for {queued} words"
        check(name, got, words[:queued])
        await stop(dut, control)


@cocotb.test()
async def holds(dut: Any) -> None:
    """While held, no request is made, and quiet comes and stays; then reading goes on."""
    await context.start(dut)
    for unit in context.parameters()["dmas"]:
        name = unit["name"]
        rng = context.generator(f"holds {name}")
        data = memory(unit)
        control = Controller(dut, unit, data, latency=unit["latency"], stall=0.1)
        words = cut(data, unit["weight_bits"])[:400]
        hold = getattr(dut, f"{name}__hold")
        await strobe(dut, name)
        receiver = cocotb.start_soon(StreamSink(dut, f"{name}__o", stall=0.1).receive(len(words)))
        while not receiver.done():
            for _ in range(rng.randrange(1, 150)):
                await FallingEdge(dut.clk)
            hold.value = 1
            for _ in range(10_000):
                await FallingEdge(dut.clk)
                if control.quiet.value:
                    break
            else:
                raise AssertionError(f"{name}: no quiet")
            seen = control.requests
            for _ in range(40):
                await FallingEdge(dut.clk)
                assert control.quiet.value, f"{name}: quiet ended while held"
            assert control.requests == seen, f"{name}: a request while held"
            hold.value = 0
        check(name, receiver.result(), words)
        await stop(dut, control)
