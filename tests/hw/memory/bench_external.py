"""Cocotb bench of an external memory: words under stalls and restarts, the link in between."""

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from bench import context
from bench.streams import StreamSink, StreamSource
from hw.memory.controllers.bench_dma import check, cut, strobe
from setun.firmware.image.records import BURST, Kind, header, record, unit_bits, units_of
from setun.hw.memory.controllers.port import bus_request


class Host:
    """One memory: what it holds, and both its users."""

    def __init__(self, dut: Any, about: dict[str, Any]) -> None:
        self.dut, self.about, self.name = dut, about, about["name"]
        self.rng = context.generator(self.name)
        self.bytes = self.weights = b""
        layout = bus_request(32)
        self.request = StreamSource(dut, f"{self.name}__weights_req", stall=0.1, layout=layout)
        self.response = StreamSink(dut, f"{self.name}__weights_rsp", stall=0.3)

    async def load(self) -> None:
        """New contents, by the link; the last read ends what a flash has open."""
        about, unit = self.about, unit_bits(self.about["beat"])
        self.weights = self.rng.randbytes(about["weight_words"] * about["weight_bits"] // 8)
        held = np.frombuffer(self.weights, np.uint8)
        align = BURST * about["beat"] // 8
        token = record(header(Kind.TOKEN, 0, 1, gains=True, gates=True), held[:0], unit)
        parts = [
            token.tobytes().ljust(align, b"\0"),
            record(header(Kind.WEIGHTS, units_of(held.size, unit)), held, unit).tobytes(),
            record(header(Kind.STOP), held[:0], unit).tobytes(),
        ]
        self.bytes = b"".join(parts).ljust(about["bytes"], b"\0")
        assert len(self.bytes) == about["bytes"]
        for address, word in enumerate(cut(self.bytes, 32)):
            await self.request.send([{"write": 1, "address": address, "data": word}])
        await self.look(0)

    async def look(self, address: int) -> None:
        await self.request.send([{"write": 0, "address": address, "data": 0}])
        (got,) = await self.response.receive(1, limit=200_000)
        check(f"{self.name} word {address}", [got], cut(self.bytes, 32)[address : address + 1])

    async def words(self, count: int) -> None:
        """The first words behind a restart."""
        stall = self.rng.choice((0.0, 0.3, 0.9))
        sink = StreamSink(self.dut, f"{self.name}__weights", stall=stall)
        await strobe(self.dut, self.name)
        got = await sink.receive(count, limit=200_000)
        check(self.name, got, cut(self.weights, self.about["weight_bits"])[:count])

    async def play(self) -> None:
        words, rng = self.about["weight_words"], self.rng
        await self.load()
        for turn in range(self.about["rounds"]):
            if turn == self.about["rounds"] // 2:
                await self.load()
            await self.words(rng.choice((1, words, rng.randint(1, words))))
            # Requests are on their way, or the end has been reached: the link waits its turn.
            for _ in range(rng.randint(0, 3)):
                await self.look(rng.randrange(self.about["bytes"] // 4))
        await self.words(words)
        assert not getattr(self.dut, f"{self.name}__weights__valid").value, (
            "a word behind the last one"
        )


@cocotb.test()
async def plays(dut: Any) -> None:
    """Every memory by itself, all at once."""
    hosts = [Host(dut, about) for about in context.parameters()["memories"]]
    await context.start(dut)
    for task in [cocotb.start_soon(host.play()) for host in hosts]:
        await task
    for _ in range(5):
        await FallingEdge(dut.clk)
    for host in hosts:
        assert int(getattr(dut, f"{host.name}__violation").value) == 0
