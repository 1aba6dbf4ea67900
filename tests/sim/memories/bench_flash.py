"""Cocotb bench of the flash model itself: transactions bit by bit, right ones and wrong ones."""

from collections.abc import Awaitable, Callable
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge

from bench import context
from hw.memory.controllers.qspi_harness import OTHER_BITS, content
from setun.sim.memories.flash_rules import Rule, describe, violation_layout

PERIOD_NS = 10
DESELECT, SETTLE = 5, 100  # cycles: 50 ns and 1 us
REGISTER = 0x02 | OTHER_BITS  # with the quad enable bit


class Host:
    """Drives the pins; SCK is slow, so that only what a script says breaks a rule."""

    def __init__(self, dut: Any) -> None:
        self.dut, self.edge = dut, FallingEdge(dut.clk)

    async def wait(self, cycles: int) -> None:
        for _ in range(cycles):
            await self.edge

    def drive(self, io: int, enable: int) -> None:
        self.dut.pins__io_o.value, self.dut.pins__io_oe.value = io, enable

    async def restart(self) -> None:
        self.dut.pins__cs_n.value, self.dut.pins__sck.value = 1, 0
        self.drive(0b1111, 0b1101)
        self.dut.rst.value = 1
        await self.wait(2)
        self.dut.rst.value = 0
        await self.wait(2)

    async def clock(self, io: int, enable: int) -> int:
        """One clock; what the pins carry before it rises."""
        self.dut.pins__sck.value = 0
        self.drive(io, enable)
        await self.wait(2)
        found = int(self.dut.pins__io_i.value)
        self.dut.pins__sck.value = 1
        await self.wait(2)
        return found

    async def say(self, *values: int, quad: bool = False, bits: int = 8, hold: int = 1) -> None:
        for value in values:
            if quad:
                await self.clock(value >> 4, 0b1111)
                await self.clock(value & 15, 0b1111)
            else:
                for k in range(bits):
                    await self.clock(hold << 3 | 0b100 | (value >> (7 - k) & 1), 0b1101)

    async def hear(self, count: int, *, quad: bool = False, enable: int | None = None) -> list[int]:
        values = []
        for _ in range(count):
            value = 0
            for _ in range(2 if quad else 8):
                usual = 0 if quad else 0b1101
                found = await self.clock(0b1100, usual if enable is None else enable)
                value = value << 4 | found if quad else value << 1 | (found >> 1 & 1)
            values.append(value)
        return values

    async def open(self) -> None:
        self.dut.pins__cs_n.value = 0
        await self.wait(2)

    async def close(self, rest: int = DESELECT) -> None:
        self.dut.pins__sck.value = 0
        await self.wait(2)
        self.dut.pins__cs_n.value = 1
        await self.wait(rest)

    async def send(self, *values: int, rest: int = DESELECT) -> None:
        await self.open()
        await self.say(*values)
        await self.close(rest)

    async def read(
        self, at: int, count: int, mode: int = 0xA5, *, opcode: bool = True
    ) -> list[int]:
        await self.open()
        if opcode:
            await self.say(0xEB)
        await self.say(*at.to_bytes(3, "big"), mode, quad=True)
        for _ in range(4):
            await self.clock(0, 0)
        values = await self.hear(count, quad=True)
        await self.close()
        return values

    async def poll(self) -> int:
        """Reads of the status until the part is free."""
        await self.open()
        await self.say(0x05)
        for tries in range(1000):
            (status,) = await self.hear(1)
            if not status & 1:
                await self.close()
                return tries
        raise AssertionError("the part stays busy")

    async def wake(self) -> None:
        await self.send(0xAB)
        await self.send(0x66)
        await self.send(0x99, rest=SETTLE)

    async def ready(self) -> None:
        """Awake, with the quad enable bit."""
        await self.wake()
        await self.send(0x06)
        await self.send(0x31, REGISTER)
        assert await self.poll() > 0

    def violation(self) -> str:
        value = int(self.dut.violation.value)
        return describe(violation_layout.from_bits(value)) if value & 15 else ""


async def everything(host: Host) -> None:
    """What the model is for; nothing of it breaks a rule."""
    await host.ready()
    assert int(host.dut.register.value) == REGISTER
    assert await host.read(4090, 12) == [content(at) for at in range(4090, 4102)]
    assert await host.read(7, 3, 0xFF, opcode=False) == [content(at) for at in range(7, 10)]
    await host.send(0x06)
    await host.send(0x20, 0, 0x1F, 0xAB)
    assert await host.poll() > 0
    assert await host.read(0x0FFE, 4, 0xFF) == [content(0x0FFE), content(0x0FFF), 255, 255]
    assert await host.read(0x1FFE, 4, 0xFF) == [255, 255, content(0x2000), content(0x2001)]
    for first in (0x12, 0xA0):
        await host.send(0x06)
        await host.send(0x02, 0, 0x11, 0xFE, first | 0x0F, 0x77)
        await host.poll()
    assert await host.read(0x11FD, 3, 0xFF) == [255, (0x12 | 0x0F) & (0xA0 | 0x0F), 0x77]


async def busy(host: Host) -> None:
    await host.ready()
    await host.send(0x06)
    await host.send(0x20, 0, 0, 0)
    await host.send(0x06)


async def page(host: Host) -> None:
    await host.ready()
    await host.send(0x06)
    await host.send(0x02, 0, 0, 0xFE, 1, 2, 3)


async def conflict(host: Host) -> None:
    await host.ready()
    await host.open()
    await host.say(0x05)
    await host.hear(1, enable=0b1111)


async def quad(host: Host) -> None:
    await host.wake()
    await host.send(0xEB)


async def latch(host: Host) -> None:
    await host.ready()
    await host.send(0x02, 0, 0, 0, 1)


async def unknown(host: Host) -> None:
    await host.ready()
    await host.send(0x9F)


async def deselect(host: Host) -> None:
    await host.ready()
    await host.send(0x06, rest=DESELECT - 1)
    await host.send(0x05)


async def hold(host: Host) -> None:
    await host.wake()
    await host.open()
    await host.say(0x05, hold=0)


async def asleep(host: Host) -> None:
    await host.send(0xAB)
    await host.send(0x66)
    await host.send(0x99, rest=SETTLE - 1)
    await host.send(0x06)


async def mode(host: Host) -> None:
    await host.ready()
    await host.read(0, 1, 0xF0)


async def beyond(host: Host) -> None:
    await host.ready()
    end = context.parameters()["depth"]
    await host.read(end - 2, 2)
    assert not host.violation()
    await host.read(end - 2, 3, opcode=False)


async def partial(host: Host) -> None:
    await host.ready()
    await host.send(0x06)
    await host.send(0x02, 0, 0, 0)


WRONG: dict[Rule, Callable[[Host], Awaitable[None]]] = {
    Rule.BUSY: busy,
    Rule.PAGE: page,
    Rule.CONFLICT: conflict,
    Rule.QUAD: quad,
    Rule.LATCH: latch,
    Rule.UNKNOWN: unknown,
    Rule.DESELECT: deselect,
    Rule.HOLD: hold,
    Rule.ASLEEP: asleep,
    Rule.MODE: mode,
    Rule.RANGE: beyond,
    Rule.PARTIAL: partial,
}


@cocotb.test()
async def scripts(dut: Any) -> None:
    """The right script, then every rule broken by its own."""
    host = Host(dut)
    dut.pins__cs_n.value, dut.pins__sck.value = 1, 0
    await context.start(dut, period_ns=PERIOD_NS)
    await host.restart()
    await everything(host)
    assert not host.violation(), host.violation()
    assert set(WRONG) == set(Rule)
    for rule, script in WRONG.items():
        await host.restart()
        await script(host)
        await host.wait(2)
        code = int(dut.violation.value) & 15
        assert code == rule, f"{rule.name}: found {host.violation() or 'nothing'}"
