"""Cocotb benches of the quad SPI controller against two models of a flash."""

import json
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge
from cocotb.utils import get_sim_time

from bench import context
from bench.streams import StreamSink, StreamSource
from hw.memory.controllers.qspi_harness import OTHER_BITS, content
from setun.firmware.memory_kinds import SECTOR
from setun.hw.memory.controllers.port import MAX_BEATS, bus_request, read_request
from setun.sim.memories.flash_rules import WORDS, Rule

PERIOD_NS = 10


class Host:
    """What the chip does to one controller, and what its flash should hold."""

    def __init__(self, dut: Any, about: dict[str, Any], *, stall: float | None = None) -> None:
        name = about["name"]
        stall = about["stall"] if stall is None else stall
        self.dut, self.about, self.name = dut, about, name
        self.rng = context.generator(f"{name} {stall}")
        self.words = (about["capacity"] - about["base"]) // 4
        self.bytes: dict[int, int] = {}  # of the flash, where they are not its first contents
        self.written = 0  # word behind the last one written
        request = read_request((self.words - 1).bit_length())
        bus = bus_request((self.words - 1).bit_length())
        self.read = StreamSource(dut, f"{name}__read", stall=stall, layout=request)
        self.o = StreamSink(dut, f"{name}__o", stall=stall)
        self.request = StreamSource(dut, f"{name}__bus_req", stall=stall, layout=bus)
        self.response = StreamSink(dut, f"{name}__bus_rsp", stall=stall)
        self.edge = FallingEdge(dut.clk)

    def port(self, name: str) -> int:
        return int(getattr(self.dut, f"{self.name}__{name}").value)

    def check(self) -> None:
        code = self.port("violation")
        assert code == 0, f"{self.name}: {WORDS[Rule(code)]}"
        enabled = OTHER_BITS | self.about["enable"]
        assert self.port("register") == enabled, f"{self.name}: {self.port('register'):#x}"

    async def pause(self, cycles: int) -> None:
        for _ in range(cycles):
            await self.edge

    async def start(self) -> None:
        for _ in range(20_000):
            if self.port("ready"):
                break
            await self.edge
        assert self.port("ready"), f"{self.name}: not ready after 20,000 cycles"
        self.check()

    def byte(self, at: int) -> int:
        return self.bytes.get(at, content(at))

    def word(self, address: int) -> int:
        at = self.about["base"] + 4 * address
        return sum(self.byte(at + k) << (8 * k) for k in range(4))

    async def write(self, address: int, data: int) -> None:
        at = self.about["base"] + 4 * address
        if at % SECTOR == 0:
            self.bytes.update({k: 0xFF for k in range(at, at + SECTOR)})
        for k in range(4):
            self.bytes[at + k] = self.byte(at + k) & data >> (8 * k) & 0xFF
        await self.request.send([{"write": 1, "address": address, "data": data}])

    async def load(self, address: int) -> None:
        await self.request.send([{"write": 0, "address": address, "data": 0}])
        (got,) = await self.response.receive(1, limit=20_000)
        want = self.word(address)
        assert got == want, f"{self.name} word {address}: expected {want:#x}, got {got:#x}"

    async def bursts(self, bursts: list[tuple[int, int]]) -> None:
        """Requests as fast as they are taken, and every beat of them."""
        asked = [{"address": address, "beats": beats} for address, beats in bursts]
        sender = cocotb.start_soon(self.read.send(asked))
        for address, beats in bursts:
            got = await self.o.receive(beats, limit=100_000)
            for k, beat in enumerate(got):
                want = self.word(address + k)
                assert beat == want, (
                    f"{self.name} burst {address}+{beats}, beat {k}:"
                    f" expected {want:#x}, got {beat:#x}"
                )
        await sender
        self.check()

    def random_bursts(self, count: int) -> list[tuple[int, int]]:
        """Anywhere, near the end, or where the one before ended."""
        bursts: list[tuple[int, int]] = []
        for _ in range(count):
            beats = self.rng.choice([1, 2, 3, self.rng.randint(1, 20)])
            limit = self.words - beats
            address = self.rng.choice([self.rng.randint(0, limit), self.rng.randint(0, 40), limit])
            if bursts and self.rng.random() < 0.6:
                address = min(sum(bursts[-1]), limit)
            bursts.append((address, beats))
        return bursts


def hosts_of(dut: Any, **options: Any) -> list[Host]:
    return [Host(dut, about, **options) for about in context.parameters()["systems"]]


async def all_of(coroutines: list[Any]) -> None:
    for task in [cocotb.start_soon(c) for c in coroutines]:
        await task


async def crossing(host: Host, at: int, *, burst_first: bool) -> None:
    """A burst and the link's word behind each other, while nobody takes the first for long."""
    if burst_first:
        await host.read.send([{"address": at, "beats": 2}])
        loader = cocotb.start_soon(host.load(at + 2))
        await host.pause(150)
        assert await host.o.receive(2, limit=20_000) == [host.word(at), host.word(at + 1)]
        await loader
    else:
        await host.request.send([{"write": 0, "address": at, "data": 0}])
        burst = cocotb.start_soon(host.bursts([(at + 1, 2)]))
        await host.pause(150)
        assert await host.response.receive(1, limit=20_000) == [host.word(at)]
        await burst


@cocotb.test()
async def reads(dut: Any) -> None:
    """Bursts and single words; then again after a reset in the middle of a burst."""
    hosts = hosts_of(dut)
    rounds = context.parameters()["rounds"]
    await context.start(dut, period_ns=PERIOD_NS)

    async def play(host: Host) -> None:
        await host.start()
        for _ in range(rounds):
            await host.bursts(host.random_bursts(host.rng.randint(1, 5)))
            at = host.rng.randrange(host.words - 4)
            for k in range(host.rng.randint(1, 3)):
                await host.load(at + k)
            await crossing(host, at, burst_first=True)
            await crossing(host, at, burst_first=False)

    await all_of([play(host) for host in hosts])
    for host in hosts:
        await host.read.send([{"address": 7, "beats": MAX_BEATS}])
    for _ in range(hosts[0].rng.randint(200, 400)):
        await hosts[0].edge
    assert not any(host.port("cs_n") for host in hosts)
    dut.rst.value = 1
    await hosts[0].edge
    dut.rst.value = 0
    for host in hosts:
        host.o._offered = None
    await all_of([play(host) for host in hosts])


@cocotb.test()
async def sequential(dut: Any) -> None:
    """Share of the pins' peak in reads of 4 KB and more, first address included."""
    given = context.parameters()
    hosts = hosts_of(dut, stall=0.0)
    await context.start(dut, period_ns=PERIOD_NS)
    found = []

    async def stream(host: Host) -> None:
        await host.start()
        await host.bursts([(0, 1)])  # leaves the part in continuous mode
        for kilobytes in given["kilobytes"]:
            start, count = get_sim_time("ns"), kilobytes
            first = host.rng.randrange(64, 128)
            await host.bursts([(first + k * MAX_BEATS, MAX_BEATS) for k in range(count)])
            cycles = (get_sim_time("ns") - start) / PERIOD_NS
            efficiency = count * MAX_BEATS * 16 / cycles
            found.append(
                {
                    "name": host.name,
                    "kilobytes": kilobytes,
                    "cycles": cycles,
                    "efficiency": efficiency,
                }
            )
            assert efficiency >= 0.95, f"{host.name}: {efficiency:.4f}"
        start = get_sim_time("ns")
        await host.bursts([(0, 1)])
        found.append({"name": host.name, "latency": (get_sim_time("ns") - start) / PERIOD_NS})

    await all_of([stream(host) for host in hosts])
    Path(given["results"]).write_text(json.dumps(found))


@cocotb.test()
async def writes(dut: Any) -> None:
    """Sectors loaded and read back, words programmed elsewhere, reads in between."""
    hosts = hosts_of(dut)
    await context.start(dut, period_ns=PERIOD_NS)

    async def play(host: Host) -> None:
        await host.start()
        rng, sector = host.rng, SECTOR // 4
        # Over the boundary of two sectors, with a read that cuts a page.
        for address in range(2 * sector, 3 * sector + 70):
            await host.write(address, rng.getrandbits(32))
            if rng.random() < 0.01:
                await host.load(rng.choice([address, rng.randrange(host.words)]))
        await host.bursts([(2 * sector + k * MAX_BEATS, MAX_BEATS) for k in range(4)])
        await host.bursts([(3 * sector - 3, 100)])
        # Not erased: bits are cleared only.
        for address in (5, 6, 2 * sector + 9, 70, 71, sector - 1):
            await host.write(address, rng.getrandbits(32))
        await host.bursts([(0, 80), (2 * sector, 16), (sector - 2, 4)])
        # Behind a burst that nobody takes for long.
        await host.read.send([{"address": 3, "beats": 2}])
        writer = cocotb.start_soon(host.write(4 * sector, 0x01234567))
        await host.pause(3000)
        got = await host.o.receive(2, limit=20_000)
        assert got == [host.word(3), host.word(4)]
        await writer
        await host.load(4 * sector)
        host.check()

    await all_of([play(host) for host in hosts])
