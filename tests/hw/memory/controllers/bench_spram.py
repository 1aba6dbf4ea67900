"""Cocotb benches of the weights in single-port RAM, behavioural and of vendor cells at once."""

from typing import Any

import cocotb
from cocotb.triggers import FallingEdge
from cocotb.utils import get_sim_time

from bench import context
from bench.streams import StreamSink, StreamSource
from setun.hw.memory.controllers.port import MAX_BEATS, bus_request, read_request
from setun.hw.memory.controllers.spram import DEPTH

PERIOD_NS = 10
EDGES = 150  # beats at both ends that are written before anything is read
UNITS = ("generic", "ice40")


class Host:
    """What the chip does to one controller, and what its memory should hold, by beat halves."""

    def __init__(self, dut: Any, name: str, *, stall: float) -> None:
        self.name = name
        # One seed for both units: the same traffic.
        self.rng = context.generator("spram")
        self.held: dict[int, int] = {}
        request, bus = read_request(14), bus_request(15)
        self.read = StreamSource(dut, f"{name}__read", stall=stall, layout=request)
        self.o = StreamSink(dut, f"{name}__o", stall=stall)
        self.request = StreamSource(dut, f"{name}__bus_req", stall=stall, layout=bus)
        self.response = StreamSink(dut, f"{name}__bus_rsp", stall=stall)
        self.edge = FallingEdge(dut.clk)

    async def write(self, address: int) -> None:
        self.held[address] = self.rng.getrandbits(32)
        request = {"write": 1, "address": address, "data": self.held[address]}
        await self.request.send([request])

    async def load(self, address: int) -> None:
        await self.request.send([{"write": 0, "address": address, "data": 0}])
        (got,) = await self.response.receive(1, limit=1000)
        want = self.held[address]
        assert got == want, f"{self.name} word {address}: expected {want:#x}, got {got:#x}"

    async def bursts(self, bursts: list[tuple[int, int]]) -> int:
        """Requests as fast as they are taken, and every beat; cycles from first to last."""
        asked = [{"address": address, "beats": beats} for address, beats in bursts]
        want = [
            self.held[2 * at] | self.held[2 * at + 1] << 32
            for address, beats in bursts
            for at in range(address, address + beats)
        ]
        start = get_sim_time("ns")
        sender = cocotb.start_soon(self.read.send(asked))
        got = await self.o.receive(len(want), limit=100_000)
        cycles = round((get_sim_time("ns") - start) / PERIOD_NS)
        for k, (beat, expected) in enumerate(zip(got, want, strict=True)):
            assert beat == expected, f"{self.name} beat {k}: expected {expected:#x}, got {beat:#x}"
        await sender
        return cycles

    async def fill(self) -> None:
        for address in range(2 * EDGES):
            await self.write(address)
            await self.write(2 * DEPTH - 1 - address)

    def random_burst(self, longest: int) -> tuple[int, int]:
        beats = self.rng.randint(1, longest)
        first = self.rng.randint(0, EDGES - beats)
        return first + self.rng.choice([0, DEPTH - EDGES]), beats


async def both(dut: Any, stall: float, play: Any) -> None:
    hosts = [Host(dut, name, stall=stall) for name in UNITS]
    await context.start(dut, period_ns=PERIOD_NS)
    for task in [cocotb.start_soon(play(host)) for host in hosts]:
        await task


@cocotb.test()
async def plays(dut: Any) -> None:
    """Single words and bursts in random order, both sides stalling."""
    rounds = context.parameters()["rounds"]

    async def play(host: Host) -> None:
        rng = host.rng
        await host.fill()
        for _ in range(rounds):
            recent = [rng.randrange(2 * EDGES) for _ in range(rng.randint(1, 4))]
            recent += [rng.randrange(2 * DEPTH)]
            for address in recent:
                await host.write(address)
            for address in rng.sample(recent, 2):
                await host.load(address)
            await host.bursts([host.random_burst(20) for _ in range(rng.randint(1, 6))])

    await both(dut, 0.3, play)


@cocotb.test()
async def sustained(dut: Any) -> None:
    """One beat in every cycle behind the first, whatever the requests are."""

    async def play(host: Host) -> None:
        await host.fill()
        for address in range(2 * EDGES, 2 * MAX_BEATS):
            await host.write(address)
        single = [(host.rng.randrange(MAX_BEATS), 1) for _ in range(100)]
        for bursts in ([(0, MAX_BEATS)] * 4, single, [host.random_burst(5) for _ in range(100)]):
            cycles, beats = await host.bursts(bursts), sum(count for _, count in bursts)
            assert cycles <= beats + 2, f"{host.name}: {beats} beats in {cycles} cycles"

    await both(dut, 0.0, play)
