"""A processor on AXI4-Lite in a cocotb bench: cocotbext's master, and registers for a client."""

import itertools
import random
from typing import Any

from cocotb.task import resume
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from bench import context


def pauses(rng: random.Random, probability: float) -> Any:
    """Whether a channel pauses, cycle by cycle."""
    return (rng.random() < probability for _ in itertools.count())


class Lite:
    """Words of the slave behind ports that begin with `prefix`, all channels pausing at random."""

    def __init__(self, dut: Any, prefix: str, stall: float) -> None:
        rng = context.generator(f"lite {prefix} {stall}")
        self._master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, prefix), dut.clk, dut.rst)
        channels = [
            *(self._master.write_if.aw_channel, self._master.write_if.w_channel),
            *(self._master.write_if.b_channel, self._master.read_if.ar_channel),
            self._master.read_if.r_channel,
        ]
        for channel in channels:
            channel.set_pause_generator(pauses(rng, stall))

    async def read(self, offset: int) -> tuple[int, AxiResp]:
        """A word, and the response."""
        got = await self._master.read(offset, 4)
        return int.from_bytes(got.data, "little"), got.resp

    async def write(self, offset: int, data: bytes) -> AxiResp:
        """Bytes from an offset on; those of the word that are not among them have no strobe."""
        return (await self._master.write(offset, data)).resp


class BenchRegisters:
    """Registers of a `Lite` for a client that runs in `cocotb.task.bridge`."""

    def __init__(self, lite: Lite) -> None:
        self._read, self._write = resume(lite.read), resume(lite.write)

    def read(self, offset: int, /) -> int:
        value, response = self._read(offset)
        assert response == AxiResp.OKAY
        return int(value)

    def write(self, offset: int, value: int, /) -> None:
        assert self._write(offset, value.to_bytes(4, "little")) == AxiResp.OKAY

    def close(self) -> None:
        """Nothing to release."""
