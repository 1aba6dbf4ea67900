"""Cocotb benches of the mailbox alone, and of the link behind it."""

from typing import Any

import cocotb
import numpy as np
from cocotb.task import bridge
from cocotb.triggers import Timer
from cocotbext.axi import AxiResp

from bench import context
from bench.streams import StreamSink, StreamSource
from hw.link.bench_link import every_method
from hw.link.lite import BenchRegisters, Lite
from setun.firmware.link.mailbox import DEPTH, IDENTITY, VERSION, MailboxPort, Register

OKAY, REFUSED = AxiResp.OKAY, AxiResp.SLVERR


def packed(data: bytes) -> bytes:
    """The word that carries one to three bytes."""
    return (len(data) | int.from_bytes(data, "little") << 8).to_bytes(4, "little")


def carried(word: int) -> bytes:
    """Bytes of a word; it has zeros behind them."""
    count = word & 3
    data = (word >> 8).to_bytes(3, "little")
    assert word & 0xFC == 0 and not any(data[count:])
    return data[:count]


async def begin(dut: Any, stall: float) -> tuple[Lite, StreamSource, StreamSink]:
    lite = Lite(dut, "box__axi_", stall)
    source, sink = StreamSource(dut, "box__i", stall=stall), StreamSink(dut, "box__o", stall=stall)
    dut.box__room.value = 1023
    await context.start(dut)
    return lite, source, sink


async def _bytes(dut: Any, stall: float) -> None:
    lite, source, sink = await begin(dut, stall)
    rng = context.generator(f"bytes {stall}")
    inward, outward = rng.randbytes(700), rng.randbytes(DEPTH + 300)
    sender = cocotb.start_soon(source.send(list(outward)))
    receiver = cocotb.start_soon(sink.receive(len(inward)))

    async def write() -> None:
        done = 0
        while done < len(inward):
            part = inward[done : done + rng.randrange(4)]
            assert await lite.write(Register.WRITE, packed(part)) == OKAY
            done += len(part)

    writer = cocotb.start_soon(write())
    found = b""
    while len(found) < len(outward):
        word, response = await lite.read(Register.READ)
        assert response == OKAY
        found += carried(word)
        if rng.random() < 0.02:
            await Timer(rng.randrange(5000), "ns")
    await writer
    await sender
    assert bytes(await receiver) == inward
    assert found == outward
    assert await lite.read(Register.READ) == (0, OKAY)


@cocotb.test()
async def mailbox_bytes(dut: Any) -> None:
    """Every byte, in order, both ways at once, at full speed."""
    await _bytes(dut, 0.0)


@cocotb.test()
async def mailbox_bytes_with_stalls(dut: Any) -> None:
    """The same with pauses on all channels and of both streams."""
    await _bytes(dut, 0.4)


@cocotb.test()
async def mailbox_registers(dut: Any) -> None:
    """What waits is told, nothing is lost where nobody reads, and what is no register refuses."""
    lite, source, sink = await begin(dut, 0.2)
    assert await lite.read(Register.IDENTITY) == (IDENTITY, OKAY)
    assert await lite.read(Register.VERSION) == (VERSION, OKAY)
    assert await lite.read(Register.READ) == (0, OKAY)
    assert await lite.read(Register.STATUS) == (1023 << 16, OKAY)
    dut.box__room.value = 77
    sender = cocotb.start_soon(source.send([k % 251 for k in range(DEPTH + 40)]))
    await Timer(60, "us")
    waiting, _ = await lite.read(Register.STATUS)
    assert waiting >> 16 == 77 and DEPTH <= waiting & 0xFFFF <= DEPTH + 4
    for offset in (Register.WRITE, 0x14, 0x18, 0x1C):
        assert await lite.read(offset) == (0, REFUSED)
    for offset in (Register.IDENTITY, Register.VERSION, Register.STATUS, Register.READ, 0x14):
        assert await lite.write(offset, packed(b"xyz")) == REFUSED
    assert await lite.write(Register.WRITE, b"\x01") == REFUSED
    assert await lite.write(Register.WRITE + 1, b"abc") == REFUSED
    assert await lite.write(Register.WRITE, packed(b"")) == OKAY
    assert await lite.write(Register.WRITE, packed(b"z")) == OKAY
    assert await sink.receive(1) == [ord("z")]
    found = b""
    while len(found) < DEPTH + 40:
        found += carried((await lite.read(Register.READ))[0])
    assert found == bytes(k % 251 for k in range(DEPTH + 40))
    await sender


@cocotb.test()
async def link_client(dut: Any) -> None:
    """Every method of the host client through the mailbox, all channels pausing."""
    lite = Lite(dut, "host_", 0.2)
    await context.start(dut)

    def session() -> None:
        with MailboxPort(BenchRegisters(lite), "bench") as port:
            every_method(port, np.random.default_rng(context.seed()))
            assert port.in_waiting == 0

    await bridge(session)()
