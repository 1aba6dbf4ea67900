"""Cocotb benches of the link's parts: UART against cocotbext-uart, COBS and CRC streams."""

import logging
import random
import zlib
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, Timer
from cocotbext.uart import UartSink, UartSource

from bench import context
from bench.streams import StreamSink, StreamSource
from hw.link.line import PERIOD_NS
from setun.firmware.link.frames import FrameError, cobs_decode, cobs_encode
from setun.hw.link.cobs import DECODED, ENCODER_INPUT


def runs(rng: random.Random, length: int) -> bytes:
    """Random bytes in which zeros and long runs without zeros are both common."""
    density = rng.choice((0.0, 0.01, 0.2, 0.9))
    return bytes(0 if rng.random() < density else rng.randrange(256) for _ in range(length))


@cocotb.test()
async def uart(dut: Any) -> None:
    """Echo through both halves at the nominal rate and off it; glitches, breaks."""
    logging.getLogger("cocotb").setLevel(logging.WARNING)
    await context.start(dut)
    rng = context.generator("uart")
    rx, tx, error = (
        getattr(dut, f"uart{context.parameters()['divisor']}__{port}")
        for port in ("rx", "tx", "error")
    )
    rx.value = 1
    bit_ns = PERIOD_NS * context.parameters()["divisor"]
    errors: list[int] = []

    async def watch() -> None:
        while True:
            await FallingEdge(dut.clk)
            if error.value:
                errors.append(1)

    cocotb.start_soon(watch())
    sink = UartSink(tx, baud=1e9 / (bit_ns + 0.5))

    async def echoed(data: bytes) -> bytes:
        got = bytearray()
        for _ in range(1000):
            got += sink.read_nowait()
            if len(got) >= len(data):
                break
            await Timer(20 * bit_ns, "ns")
        return bytes(got)

    for off, stop_bits in ((0, 1), (context.parameters()["tolerance"], 3)):
        for sign in (1, -1):
            period = round(bit_ns * (1 + sign * off)) + 0.5
            source = UartSource(rx, baud=1e9 / period, stop_bits=stop_bits)
            # Shift against the clock, so that edges fall anywhere in a cycle.
            await Timer(rng.randrange(1, PERIOD_NS), "ns")
            data = bytes((0x00, 0xFF, 0x55, 0xAA)) + rng.randbytes(40)
            source.write_nowait(data)
            assert await echoed(data) == data, (off, sign)
            await source.wait()
            source._run_cr.cancel()
    assert not errors
    rx.value = 0
    await Timer(bit_ns // 4, "ns")
    rx.value = 1
    await Timer(15 * bit_ns, "ns")
    assert sink.empty() and not errors
    rx.value = 0
    await Timer(40 * bit_ns, "ns")
    rx.value = 1
    await Timer(15 * bit_ns, "ns")
    assert sink.empty() and errors == [1]


@cocotb.test()
async def cobs_encoder(dut: Any) -> None:
    """Frames of every length class, stalled on both sides."""
    await context.start(dut)
    rng = context.generator("encoder")
    frames = [
        runs(rng, n) for n in (1, 1, 2, 3, 253, 254, *(rng.randrange(1, 60) for _ in range(40)))
    ]
    frames += [bytes(1), bytes(5), b"\1", b"\xff" * 254]
    expected = b"".join(_short(frame) + b"\0" for frame in frames)
    source = StreamSource(dut, "encoder__i", stall=0.3, layout=ENCODER_INPUT)
    sink = StreamSink(dut, "encoder__o", stall=0.3)
    words = [
        {"data": byte, "last": place == len(frame) - 1}
        for frame in frames
        for place, byte in enumerate(frame)
    ]
    cocotb.start_soon(source.send(words))
    assert bytes(await sink.receive(len(expected))) == expected


def _short(frame: bytes) -> bytes:
    """COBS of at most 254 bytes, without the empty last run that a full first one may drop."""
    encoded = cobs_encode(frame)
    return encoded[: len(frame) + 1]


@cocotb.test()
async def cobs_decoder(dut: Any) -> None:
    """Good and damaged encodings give what the host's decoder gives, stalled on both sides."""
    await context.start(dut)
    rng = context.generator("decoder")
    wires = [cobs_encode(runs(rng, rng.choice((1, 2, 253, 254, 255, 300, 30)))) for _ in range(40)]
    wires += [rng.randbytes(rng.randrange(1, 40)).replace(b"\0", b"\3") for _ in range(60)]
    expected: list[tuple[int, int, int]] = []
    for wire in wires:
        try:
            expected += [(byte, 0, 0) for byte in cobs_decode(wire)]
            expected.append((0, 1, 0))
        except FrameError:
            # What precedes the break-off comes out too; padding it shows what that is.
            padding = next(n for n in range(1, 256) if _decodes(wire + b"\1" * n))
            whole = cobs_decode(wire + b"\1" * padding)
            expected += [(byte, 0, 0) for byte in whole[: len(whole) - padding]]
            expected.append((0, 1, 1))
    source = StreamSource(dut, "decoder__i", stall=0.3)
    sink = StreamSink(dut, "decoder__o", stall=0.3, layout=DECODED)
    cocotb.start_soon(source.send(b"".join(wire + b"\0" for wire in wires)))
    words = await sink.receive(len(expected))
    got = [(0 if w["end"] else w["data"], w["end"], w["end"] & w["bad"]) for w in words]
    assert got == expected


def _decodes(wire: bytes) -> bool:
    try:
        cobs_decode(wire)
    except FrameError:
        return False
    return True


@cocotb.test()
async def crc(dut: Any) -> None:
    """Equal to zlib after every byte; `match` behind a CRC and only there."""
    await context.start(dut)
    rng = context.generator("crc")
    for length in (1, 4, 37, 200):
        data = runs(rng, length)
        data += zlib.crc32(data).to_bytes(4, "little")
        dut.crc__start.value = 1
        await FallingEdge(dut.clk)
        dut.crc__start.value = 0
        for place, byte in enumerate(data):
            dut.crc__data.value = byte
            dut.crc__valid.value = 1
            await FallingEdge(dut.clk)
            dut.crc__valid.value = 0
            for _ in range(rng.randrange(2)):
                await FallingEdge(dut.clk)
            assert int(dut.crc__crc.value) == zlib.crc32(data[: place + 1])
            assert int(dut.crc__match.value) == (place == len(data) - 1)
