"""Cocotb benches of the AXI4 master and the control registers, against cocotbext-axi."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, Timer, with_timeout
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam, AxiResp

from bench import context
from bench.streams import StreamSink, StreamSource
from setun.hw.memory.controllers.axi4_lite import IDENTITY, VERSION, Register
from setun.hw.memory.controllers.port import bus_request, read_request

PERIOD_NS = 10


def pauses(rng: random.Random, probability: float) -> Any:
    return (rng.random() < probability for _ in itertools.count())


class Ram:
    """cocotbext's memory behind `name__axi__*`, with random latency, pauses and a bad range."""

    def __init__(self, dut: Any, unit: dict[str, Any], stall: float) -> None:
        name = unit["name"]
        rng = context.generator(f"ram {name} {stall}")
        self.ram = AxiRam(
            AxiBus.from_prefix(dut, f"{name}__axi_"), dut.clk, dut.rst, size=unit["ram"]
        )
        self.bad: range | tuple[()] = ()
        for channel in ("ar_channel", "r_channel"):
            getattr(self.ram.read_if, channel).set_pause_generator(pauses(rng, stall))
        for channel in ("aw_channel", "w_channel", "b_channel"):
            getattr(self.ram.write_if, channel).set_pause_generator(pauses(rng, stall))

        async def read(address: int, length: int) -> bytes:
            if stall and rng.random() < 0.02:
                await Timer(PERIOD_NS * rng.randrange(1, 60), "ns")
            if address in self.bad:
                raise IndexError(address)
            return bytes(self.ram.read(address % unit["ram"], length))

        self.ram.read_if._read = read


class Master:
    """Stream drivers of an `Axi4Reader` behind ports of its name."""

    def __init__(self, dut: Any, unit: dict[str, Any], stall: float) -> None:
        name, self.unit = unit["name"], unit
        beats, words = unit["capacity"] * 8 // unit["data_bits"], unit["capacity"] // 4
        self.read = StreamSource(
            dut, f"{name}__read", stall=stall, layout=read_request((beats - 1).bit_length())
        )
        self.o = StreamSink(dut, f"{name}__o", stall=stall)
        self.bus = StreamSource(
            dut, f"{name}__bus_req", stall=stall, layout=bus_request((words - 1).bit_length())
        )
        self.response = StreamSink(dut, f"{name}__bus_rsp", stall=stall)
        getattr(dut, f"{name}__base").value = unit["base"]
        getattr(dut, f"{name}__clear").value = 0
        self.enable = getattr(dut, f"{name}__enable")
        self.enable.value = 1
        self.bytes = unit["data_bits"] // 8

    def bursts(self, rng: random.Random, count: int) -> list[tuple[int, int]]:
        """Random (beat, beats) that stay within the controller's boundaries."""
        whole, total = self.unit["burst"], self.unit["capacity"] // self.bytes
        found = [(0, whole), (total - 1, 1), (whole - 1, 1), (total - whole, whole)]
        while len(found) < count:
            first = rng.randrange(total)
            room = min(whole - first % whole, 40)
            found.append((first, rng.randrange(1, room + 1)))
        return found

    async def fetch(self, bursts: list[tuple[int, int]]) -> list[int]:
        requests = [{"address": first, "beats": beats} for first, beats in bursts]
        sender = cocotb.start_soon(self.read.send(requests))
        got = await self.o.receive(sum(beats for _, beats in bursts))
        await sender
        return got

    async def write(self, word: int, value: int) -> None:
        await self.bus.send([{"write": 1, "address": word, "data": value}])

    async def load(self, word: int) -> int:
        await self.bus.send([{"write": 0, "address": word, "data": 0}])
        return int((await self.response.receive(1))[0])


def fill(unit: dict[str, Any], ram: Ram) -> bytes:
    contents = context.generator(f"contents {unit['name']}").randbytes(unit["capacity"])
    ram.ram.write(unit["base"] % unit["ram"], contents)
    return contents


async def begin(dut: Any, stall: float) -> list[tuple[dict[str, Any], Ram, Master, bytes]]:
    """Reset, and every master with its memory filled."""
    units = context.parameters()["masters"]
    rams = [Ram(dut, unit, stall) for unit in units]
    masters = [Master(dut, unit, stall) for unit in units]
    await context.start(dut)
    return [
        (unit, ram, master, fill(unit, ram))
        for unit, ram, master in zip(units, rams, masters, strict=True)
    ]


async def _bursts(dut: Any, stall: float) -> None:
    for unit, _, master, contents in await begin(dut, stall):
        wanted = master.bursts(context.generator(f"bursts {unit['name']} {stall}"), 30)
        got = await master.fetch(wanted)
        beats = [k for first, count in wanted for k in range(first, first + count)]
        step = master.bytes
        want = [int.from_bytes(contents[k * step : (k + 1) * step], "little") for k in beats]
        differ = [k for k in range(len(want)) if got[k] != want[k]]
        assert not differ, f"{unit['name']}: beats {differ[:8]} of {len(want)} differ"
        assert not getattr(dut, f"{unit['name']}__error").value


@cocotb.test()
async def bursts(dut: Any) -> None:
    """Random bursts, and those at the boundaries, at full speed."""
    await _bursts(dut, 0.0)


@cocotb.test()
async def bursts_with_stalls(dut: Any) -> None:
    """The same with latency, and with pauses on all channels and of both streams."""
    await _bursts(dut, 0.3)


@cocotb.test()
async def words(dut: Any) -> None:
    """The link's words: writes change four bytes and no others, reads behind them see them."""
    for unit, ram, master, contents in await begin(dut, 0.3):
        rng = context.generator(f"words {unit['name']}")
        expected = bytearray(contents)
        last = unit["capacity"] // 4 - 1
        for word in [0, last, *(rng.randrange(last) for _ in range(60))]:
            value = rng.getrandbits(32)
            if rng.random() < 0.6:
                await master.write(word, value)
                expected[4 * word : 4 * word + 4] = value.to_bytes(4, "little")
            if rng.random() < 0.6:
                want = int.from_bytes(expected[4 * word : 4 * word + 4], "little")
                got = await master.load(word)
                assert got == want, f"{unit['name']} word {word}: expected {want:#x}, got {got:#x}"
        # A burst right behind a write waits for its response.
        await master.write(0, 0x12345678)
        expected[:4] = (0x12345678).to_bytes(4, "little")
        first = int.from_bytes(expected[: master.bytes], "little")
        assert await master.fetch([(0, 1)]) == [first], unit["name"]
        assert ram.ram.read(unit["base"] % unit["ram"], unit["capacity"]) == expected


@cocotb.test()
async def errors(dut: Any) -> None:
    """A bad response is latched until cleared, and data still comes; nothing before enable."""
    for unit, ram, master, _ in await begin(dut, 0.0):
        name = unit["name"]
        error, clear = (getattr(dut, f"{name}__{pin}") for pin in ("error", "clear"))
        bad = unit["base"] + 3 * master.bytes
        ram.bad = range(bad, bad + 1)
        await master.fetch([(0, 3)])
        assert not error.value, name
        await master.fetch([(0, 5)])
        assert error.value, name
        await master.fetch([(8, 4)])
        assert error.value, f"{name}: the error went by itself"
        clear.value = 1
        await FallingEdge(dut.clk)
        clear.value = 0
        assert not error.value, name
        await master.load(3 * master.bytes // 4)
        assert error.value, f"{name}: a word's error"
        master.enable.value = 0
        for port in ("read", "bus_req"):
            getattr(dut, f"{name}__{port}__valid").value = 1
        valids = [getattr(dut, f"{name}__axi__{pin}") for pin in ("arvalid", "awvalid", "wvalid")]
        for _ in range(20):
            await FallingEdge(dut.clk)
            assert not any(pin.value for pin in valids), f"{name}: begun before enable"
        for port in ("read", "bus_req"):
            getattr(dut, f"{name}__{port}__valid").value = 0


async def cycles(dut: Any, count: int) -> None:
    """`count` cycles at once: Python on every edge would be the simulation's bottleneck."""
    # To between two edges, so that the last one is awaited and not met.
    await Timer(PERIOD_NS * count - PERIOD_NS // 2, "ns")
    await FallingEdge(dut.clk)


@cocotb.test()
async def throughput(dut: Any) -> None:
    """Beats per cycle of DMA and master against the memory's latency; exact to the cycle."""
    await context.start(dut)
    given = context.parameters()
    rates: dict[str, dict[str, float]] = {}
    for path in given["paths"]:
        name = path["name"]
        port = {
            pin: getattr(dut, f"{name}__{pin}")
            for pin in ("restart", "hold", "latency", "cycles", "words", "wrong")
        }
        rates[name] = {}
        for latency in given["latencies"]:
            # Nothing of the run before is on its way: what is measured is reading alone.
            port["hold"].value = 1
            await cycles(dut, 2 * path["depth"] + max(given["latencies"]))
            port["hold"].value = 0
            port["latency"].value = latency
            port["restart"].value = 1
            await FallingEdge(dut.clk)
            port["restart"].value = 0
            await cycles(dut, given["cycles"])
            words = int(port["words"].value)
            assert int(port["cycles"].value) == given["cycles"]
            assert not port["wrong"].value, f"{name}: {int(port['wrong'].value)} words are wrong"
            rates[name][latency] = words * path["weight_bits"] / path["data_bits"] / given["cycles"]
    Path(given["report"]).write_text(json.dumps(rates))


class Registers:
    """cocotbext's AXI4-Lite master on the control registers."""

    def __init__(self, dut: Any, name: str, stall: float) -> None:
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, f"{name}__axi_"), dut.clk, dut.rst)
        rng = context.generator(f"registers {stall}")
        reads, writes = self.master.read_if, self.master.write_if
        for channel in (
            reads.ar_channel,
            reads.r_channel,
            writes.aw_channel,
            writes.w_channel,
            writes.b_channel,
        ):
            channel.set_pause_generator(pauses(rng, stall))

    async def read(self, offset: int) -> tuple[int, int]:
        answer = await with_timeout(self.master.read(offset, 4), 10, "us")
        return int.from_bytes(answer.data, "little"), answer.resp

    async def write(self, offset: int, value: bytes) -> int:
        return (await with_timeout(self.master.write(offset, value), 10, "us")).resp


@cocotb.test()
async def registers(dut: Any) -> None:
    """The register map: values, strobes, what is read only, and SLVERR elsewhere."""
    name, count = "registers", context.parameters()["counters"]
    rng = context.generator(name)
    counters = [rng.getrandbits(32) for _ in range(count)]
    getattr(dut, f"{name}__counters").value = sum(v << (32 * k) for k, v in enumerate(counters))
    status, enable, base, clear = (
        getattr(dut, f"{name}__{pin}") for pin in ("status", "enable", "weight_base", "clear")
    )
    status.value = 0
    for stall in (0.0, 0.5):
        bus = Registers(dut, name, stall)
        await context.start(dut)
        okay, bad = AxiResp.OKAY, AxiResp.SLVERR
        assert await bus.read(Register.IDENTITY) == (IDENTITY, okay)
        assert await bus.read(Register.VERSION) == (VERSION, okay)
        assert await bus.read(Register.COUNTERS) == (count, okay)
        for k, value in enumerate(counters):
            assert await bus.read(Register.COUNTER + 4 * k) == (value, okay)
        for value in (0b101, 0b010, 0):
            status.value = value
            assert await bus.read(Register.STATUS) == (value, okay)

        assert not enable.value
        assert await bus.write(Register.CONTROL, b"\x01\0\0\0") == okay
        assert enable.value and await bus.read(Register.CONTROL) == (1, okay)
        seen = cocotb.start_soon(_strobes(dut, clear))
        assert await bus.write(Register.CONTROL, b"\x03\0\0\0") == okay
        assert await bus.read(Register.CONTROL) == (1, okay)
        assert await seen == 1, "clear is a strobe of one cycle"

        low, high = 0x89ABCDEF, 0x01234567
        assert await bus.write(Register.WEIGHT_BASE_LOW, low.to_bytes(4, "little")) == okay
        assert await bus.write(Register.WEIGHT_BASE_HIGH, high.to_bytes(4, "little")) == okay
        assert int(base.value) == high << 32 | low & ~0xFFF
        assert await bus.write(Register.WEIGHT_BASE_HIGH + 1, b"\x99") == okay
        assert await bus.read(Register.WEIGHT_BASE_HIGH) == (0x01239967, okay)
        assert await bus.write(Register.WEIGHT_BASE_LOW + 1, b"\xff") == okay
        assert await bus.read(Register.WEIGHT_BASE_LOW) == (low & ~0xFFF | 0xF000, okay)

        unknown = [Register.COUNTERS + 4, Register.COUNTER + 4 * count]
        for offset in unknown:
            assert await bus.read(offset) == (0, bad)
        for offset in (*unknown, Register.IDENTITY, Register.STATUS, Register.COUNTER):
            assert await bus.write(offset, b"\xff" * 4) == bad
        assert await bus.read(Register.CONTROL) == (1, okay)
        assert await bus.read(Register.IDENTITY) == (IDENTITY, okay)


async def _strobes(dut: Any, pin: Any) -> int:
    """Cycles of the next hundred in which `pin` is high."""
    high = 0
    for _ in range(100):
        await FallingEdge(dut.clk)
        high += int(pin.value)
    return high
