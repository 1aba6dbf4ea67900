"""Memories and products, as Amaranth means them and as cells, side by side."""

import random
from typing import Any

import cocotb
from amaranth.hdl import ClockSignal, Instance, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from cocotb.triggers import FallingEdge, ReadOnly

from bench import context
from setun.hw.pipeline import delayed

CYCLES = 2_000
ADDRESS, WIDTH = 14, 72

# Name: depth, width, bits for each write enable, kind.
MEMORIES = {
    "pair36": (512, 36, 9, "two addresses"),
    "pair72": (512, 72, 72, "two addresses"),
    "pair9": (2048, 9, 9, "two addresses"),
    "pair4": (4096, 4, 4, "two addresses"),
    "pair1": (16384, 1, 1, "two addresses"),
    "new18": (1024, 18, 18, "shows what is written"),
    "one18": (1024, 18, 18, "one address"),
    "one9": (2048, 9, 9, "one address"),
    "one1": (16384, 1, 1, "one address"),
    "rom18": (1024, 18, 0, "read only"),
    "rom36": (512, 36, 0, "read only"),
    # A register behind them, which an ECP5's block has itself.
    "late9": (2048, 9, 9, "one address, a register"),
    "late18": (1024, 18, 0, "read only, a register"),
    "late36": (512, 36, 36, "two addresses, a register"),
}


def contents(name: str) -> list[int]:
    """Initial words, the same every time."""
    depth, width, _, _ = MEMORIES[name]
    rng = random.Random(name)
    return [rng.getrandbits(width) for _ in range(depth)]


class Trial(wiring.Component):
    """Every memory of `MEMORIES` on the same ports, and two products.

    Members: `read_address`, `read`, `write_address`, `write` (an enable for each nine bits),
    `data`, `NAME` (what memory NAME shows), `a` and `b`, `unsigned` and `signed`, their products.
    """

    def __init__(self) -> None:
        shown = {name: Out(width) for name, (_, width, _, _) in MEMORIES.items()}
        super().__init__(
            {
                "read_address": In(ADDRESS),
                "read": In(1),
                "write_address": In(ADDRESS),
                "write": In(8),
                "data": In(WIDTH),
                "a": In(18),
                "b": In(18),
                "unsigned": Out(36),
                "signed": Out(36),
                **shown,
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, (depth, width, granularity, kind) in MEMORIES.items():
            m.submodules[name] = mem = memory.Memory(
                shape=width, depth=depth, init=contents(name), attrs={"ram_style": "block"}
            )
            target = getattr(self, name)
            kind, _, register = kind.partition(", ")
            if kind == "read only":
                port = mem.read_port()
                m.d.comb += port.addr.eq(self.read_address)
                if register:
                    m.d.comb += target.eq(delayed(m, port.data, 1, name))
                else:
                    m.d.comb += [port.en.eq(self.read), target.eq(port.data)]
                continue
            write = mem.write_port(granularity=granularity)
            seen = kind == "shows what is written"
            read = mem.read_port(transparent_for=(write,) if seen else ())
            one = kind == "one address"
            at = Mux(self.write[0], self.write_address, self.read_address)
            m.d.comb += [
                write.addr.eq(at if one else self.write_address),
                write.data.eq(self.data),
                write.en.eq(self.write),
                read.addr.eq(at if one else self.read_address),
            ]
            enable = ~self.write[0] if one else self.read
            if register:
                m.d.comb += read.en.eq(enable if one else 1)
                m.d.comb += target.eq(delayed(m, read.data, 1, name))
            else:
                m.d.comb += [read.en.eq(enable), target.eq(read.data)]
        m.d.comb += [
            self.unsigned.eq(self.a * self.b),
            self.signed.eq(self.a.as_signed() * self.b.as_signed()),
        ]
        return m


class Beside(wiring.Component):
    """A `Trial`, and the module `cells` of the same ports; `differ` tells where they do."""

    def __init__(self) -> None:
        self.trial = Trial()
        self.names = [*MEMORIES, "unsigned", "signed"]
        given = {n: m for n, m in self.trial.signature.members.items() if m.flow is In}
        super().__init__({**given, "differ": Out(len(self.names))})
        self.given = list(given)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.trial = trial = self.trial
        ports: dict[str, Any] = {f"i_{name}": getattr(self, name) for name in self.given}
        for k, name in enumerate(self.names):
            expected = getattr(trial, name)
            found = Signal.like(expected, name=f"found_{name}")
            ports[f"o_{name}"] = found
            m.d.comb += self.differ[k].eq(found != expected)
        for name in self.given:
            m.d.comb += getattr(trial, name).eq(getattr(self, name))
        m.submodules.cells = Instance("cells", i_clk=ClockSignal(), i_rst=0, **ports)
        return m


@cocotb.test()
async def equal(dut: Any) -> None:
    """Random reads and writes, many of them to one address; corner values of the products."""
    rng = random.Random(context.parameters()["seed"])
    await context.start(dut)
    corners = [0, 1, (1 << 17) - 1, 1 << 17, (1 << 18) - 1]
    for cycle in range(CYCLES):
        few = rng.random() < 0.5
        top = 4 if few else 1 << ADDRESS
        dut.read_address.value = rng.randrange(top)
        dut.write_address.value = rng.randrange(top)
        dut.read.value = rng.random() < 0.8
        dut.write.value = rng.getrandbits(8) if rng.random() < 0.5 else 0
        dut.data.value = rng.getrandbits(WIDTH)
        dut.a.value = rng.choice([*corners, rng.getrandbits(18)])
        dut.b.value = rng.choice([*corners, rng.getrandbits(18)])
        await ReadOnly()
        wrong = int(dut.differ.value)
        assert wrong == 0, f"cycle {cycle}: {wrong:b}"
        await FallingEdge(dut.clk)
