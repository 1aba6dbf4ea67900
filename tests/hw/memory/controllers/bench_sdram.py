"""Cocotb benches of the SDRAM controller against the model of its part."""

import json
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, Timer

from bench import context
from bench.streams import StreamSink, StreamSource
from hw.memory.controllers.sdram_harness import POWER_UP_US
from setun.hw.memory.controllers.port import MAX_BEATS, bus_request, read_request
from setun.hw.memory.controllers.sdram_timing import PARTS
from setun.sim.memories.sdram import pattern
from setun.sim.memories.sdram_rules import describe, violation_layout

PERIOD_NS = 10  # of the benches' clock; the part's is a figure only


def violation(dut: Any, about: dict[str, Any]) -> str | None:
    """What the model behind `about["name"]` has latched."""
    bits = int(getattr(dut, f"{about['name']}__violation").value)
    fields = violation_layout.from_bits(bits)
    if not int(fields["code"]):
        return None
    return describe(fields, PARTS[about["part"]], about["clock_hz"], POWER_UP_US)


async def watch(dut: Any, about: dict[str, Any]) -> None:
    """Fail at the first violation."""
    await getattr(dut, f"{about['name']}__violation").value_change
    said = violation(dut, about)
    assert said is None, said


class Host:
    """What the chip does to one controller, and what its memory should hold."""

    def __init__(self, dut: Any, about: dict[str, Any], *, stall: float) -> None:
        name, part = about["name"], PARTS[about["part"]]
        self.dut, self.about, self.part = dut, about, part
        self.rng = context.generator(f"{name} {stall}")
        self.stall = stall
        self.written: dict[int, int] = {}
        beats, words = part.capacity * 8 // part.dq, part.capacity // 4
        request = read_request((beats - 1).bit_length())
        bus = bus_request((words - 1).bit_length())
        self.read = StreamSource(dut, f"{name}__read", stall=stall, layout=request)
        self.o = StreamSink(dut, f"{name}__o", stall=stall)
        self.request = StreamSource(dut, f"{name}__bus_req", stall=stall, layout=bus)
        self.response = StreamSink(dut, f"{name}__bus_rsp", stall=stall)
        self.ready = getattr(dut, f"{name}__ready")
        self.edge = FallingEdge(dut.clk)

    def beat(self, address: int) -> int:
        return self.written.get(address, pattern(address, self.part.dq))

    def word(self, address: int) -> int:
        count = 32 // self.part.dq
        beats = [self.beat(address * count + k) for k in range(count)]
        return sum(beat << (k * self.part.dq) for k, beat in enumerate(beats))

    async def write(self, address: int, data: int) -> None:
        await self.request.send([{"write": 1, "address": address, "data": data}])
        count = 32 // self.part.dq
        for k in range(count):
            beat = data >> (k * self.part.dq) & ((1 << self.part.dq) - 1)
            self.written[address * count + k] = beat

    async def load(self, address: int) -> None:
        await self.request.send([{"write": 0, "address": address, "data": 0}])
        (got,) = await self.response.receive(1, limit=5000)
        want = self.word(address)
        assert got == want, f"{self.about['name']} word {address}: expected {want:#x}, got {got:#x}"

    async def bursts(self, bursts: list[tuple[int, int]]) -> None:
        """Requests as fast as they are taken, and every beat of them."""
        words = [{"address": address, "beats": beats} for address, beats in bursts]
        sender = cocotb.start_soon(self.read.send(words))
        for address, beats in bursts:
            got = await self.o.receive(beats, limit=20_000)
            for k, beat in enumerate(got):
                want = self.beat(address + k)
                assert beat == want, (
                    f"{self.about['name']} burst {address}+{beats}, beat {k}:"
                    f" expected {want:#x}, got {beat:#x}"
                )
        await sender

    def random_burst(self, depth: int) -> tuple[int, int]:
        """Among what was written or anywhere, of any length that stays in a page."""
        page = self.part.columns
        beats = self.part.capacity * 8 // self.part.dq
        address = self.rng.randrange(self.rng.choice([depth, beats]))
        room = min(page - address % page, MAX_BEATS)
        return address, min(room, self.rng.choice([1, 2, 3, self.rng.randint(1, 24), MAX_BEATS]))

    async def pause(self, cycles: int) -> None:
        for _ in range(cycles):
            await self.edge


async def play(host: Host, rounds: int, depth: int) -> None:
    """Writes, single reads and bursts in random order, with pauses that see refreshes."""
    while not host.ready.value:
        await host.edge
    words = depth * host.part.dq // 32
    rng = host.rng
    recent = [0, words - 1]
    for turn in range(rounds):
        for _ in range(rng.randint(1, 4)):
            recent.append(rng.randrange(words))
            await host.write(recent[-1], rng.getrandbits(32))
        for address in rng.sample(recent, 2):
            await host.load(address)
        # Bursts over what was written, and anywhere.
        bursts = [host.random_burst(depth) for _ in range(rng.randint(1, 6))]
        start = recent[-1] * (32 // host.part.dq) & -8
        bursts.append((start, 8))
        rng.shuffle(bursts)
        await host.bursts(bursts)
        if turn % 4 == 0:
            await host.pause(rng.randint(1, 2500))


@cocotb.test()
async def plays(dut: Any) -> None:
    """Every system at once, each with its own traffic; any violation fails the bench."""
    given = context.parameters()
    hosts = [Host(dut, about, stall=about["stall"]) for about in given["systems"]]
    await context.start(dut, period_ns=PERIOD_NS)
    for host in hosts:
        cocotb.start_soon(watch(dut, host.about))
    tasks = [cocotb.start_soon(play(h, given["rounds"], given["depth"])) for h in hosts]
    for task in tasks:
        await task
    for host in hosts:
        assert violation(dut, host.about) is None


@cocotb.test()
async def full_pages_under_stall(dut: Any) -> None:
    """Whole pages in a row while the sink hardly takes: refreshes fall into every burst."""
    given = context.parameters()
    hosts = [Host(dut, about, stall=0.0) for about in given["systems"]]
    await context.start(dut, period_ns=PERIOD_NS)

    async def walk(host: Host) -> None:
        host.o.stall = 0.8
        while not host.ready.value:
            await host.edge
        size = min(MAX_BEATS, host.part.columns)
        await host.bursts([(k * size, size) for k in range(given["pages"])])
        assert violation(dut, host.about) is None

    for host in hosts:
        cocotb.start_soon(watch(dut, host.about))
    for task in [cocotb.start_soon(walk(host)) for host in hosts]:
        await task


@cocotb.test()
async def sequential(dut: Any) -> None:
    """Beats a cycle of an endless sequential read, refreshes and row changes included."""
    given = context.parameters()
    await context.start(dut, period_ns=PERIOD_NS)
    readers = given["readers"]
    for about in readers:
        getattr(dut, f"{about['name']}__run").value = 1
        cocotb.start_soon(watch(dut, about))
    await Timer(given["cycles"] * PERIOD_NS, "ns")
    await FallingEdge(dut.clk)
    measured = []
    for about in readers:
        port = {
            p: int(getattr(dut, f"{about['name']}__{p}").value)
            for p in ("beats", "cycles", "wrong")
        }
        efficiency = port["beats"] / port["cycles"]
        measured.append({**about, **port, "efficiency": efficiency})
        assert violation(dut, about) is None, violation(dut, about)
        assert port["wrong"] == 0, f"{about['name']}: {port['wrong']} of {port['beats']} beats"
        assert port["beats"] >= given["beats"]
        assert efficiency >= 0.97, f"{about['name']}: {efficiency:.4f}"
    Path(given["results"]).write_text(json.dumps(measured))
