"""Verilog of `setun.hw.emit.conversion`: the same hardware as Amaranth's, equal modules once."""

import gc
import re
from typing import Any

import pytest
from amaranth.back import verilog
from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.hw.chip import Chip
from setun.hw.emit.conversion import to_verilog
from setun.hw.emit.verilog import chip_verilog
from setun.sim.simulator import externalise_memories, memory_file

NAME = r"(?:\\(\S+) |(\w+))"
WORDS = {
    "flags": (1, [1, 0, 1]),
    "signed$numbers": (7, [-1, 5, -64, 0, 63]),
    "whole": (32, [0, 1, 0xFFFFFFFF]),
    "table": (64, [1 << 63]),
}


class Inner(wiring.Component):
    """A register behind a sum, `width` bits."""

    i: In(8)
    o: Out(8)

    def __init__(self, start: int) -> None:
        self.start = start
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        state = Signal(8, init=self.start)
        m.d.sync += state.eq(state + self.i)
        m.d.comb += self.o.eq(state)
        return m


class Middle(Inner):
    """Two of them in a row."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.a = a = Inner(3)
        m.submodules.b = b = Inner(self.start)
        m.d.comb += [a.i.eq(self.i), b.i.eq(a.o), self.o.eq(b.o)]
        return m


class Store(wiring.Component):
    """A memory."""

    def __init__(self, name: str, width: int, words: list[int]) -> None:
        self.name, self.width, self.words = name, width, words
        super().__init__({"i": In(8), "o": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        mask = (1 << self.width) - 1
        mem = memory.Memory(
            shape=self.width, depth=len(self.words) + 1, init=[w & mask for w in self.words]
        )
        m.submodules[self.name] = mem
        port = mem.read_port()
        m.d.comb += [port.addr.eq(self.i), self.o.eq(port.data)]
        return m


class Outer(wiring.Component):
    """Parts that are equal, parts that differ in a start value or below, and memories."""

    i: In(8)
    o: Out(8)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        parts: dict[str, Any] = {"x": Middle(3), "y": Middle(3), "z": Middle(4), "w": Inner(4)}
        parts |= {f"s{k}": Store(name, *what) for k, (name, what) in enumerate(WORDS.items())}
        parts |= {"again": Store("flags", *WORDS["flags"])}
        value = self.i
        for name, part in parts.items():
            m.submodules[name] = part
            m.d.comb += part.i.eq(value)
            value = part.o
        m.d.comb += self.o.eq(value)
        return m


def modules(text: str) -> dict[str, str]:
    """Text of each module behind its name."""
    parts = re.split(rf"(?m)^module {NAME}", text)[1:]
    return {parts[k] or parts[k + 1]: parts[k + 2] for k in range(0, len(parts), 3)}


def unrolled(loop: re.Match[str]) -> str:
    """The words that a loop sets, a line each."""
    addresses = range(int(loop[1]), int(loop[2]))
    return "".join(f"    {loop[3]}[{i}]{loop[4]}\n" for i in addresses)


def contents(text: str) -> dict[str, dict[int, int]]:
    """Words of each memory, by module and name."""
    word = re.compile(r"^    (?:\\(\S+) |(\w+))\[(\d+)\] = \d+'(?:h|(d))(\w+);$", re.MULTILINE)
    loop = re.compile(
        r"^    for \(i = (\d+); i < (\d+); i = i \+ 1\)\n      (.*)\[i\](.*)\n", re.MULTILINE
    )
    found: dict[str, dict[int, int]] = {}
    for module, whole in modules(text).items():
        body = loop.sub(unrolled, whole)
        for escaped, name, address, decimal, digits in word.findall(body):
            words = found.setdefault(f"{module}.{escaped or name}", {})
            words[int(address)] = int(digits, 10 if decimal else 16)
    return found


def unfolded(texts: dict[str, str], top: str) -> Any:
    """A module with its instances in place of their types."""
    part = re.compile(rf"(?m)^  {NAME} +(?=(?:\\\S+ |\w+) ?\(\n)")
    ports, body = texts[top].split(");\n", 1)
    body = body.split("\nendmodule")[0]
    below = [m[1] or m[2] for m in part.finditer(body)]
    plain = re.sub(r"(\$auto\$\S*\$)\d+", r"\1", part.sub("", body))
    names = {name.strip() for name in ports.strip(" (").split(",")}
    return names, plain, [unfolded(texts, name) for name in below]


def assert_same_hardware(text: str, reference: str, top: str) -> None:
    """Equal but for the modules that are written once, and wires of no bits."""
    reference = re.sub(r"^ *wire \[-1:0\] .*\n", "", reference, flags=re.MULTILINE)
    assert contents(text) == contents(reference)
    ours, theirs = (unfolded(modules(externalise_memories(t)[0]), top) for t in (text, reference))
    assert ours == theirs


def test_equal_modules_are_written_once_and_the_hardware_is_the_same() -> None:
    text = to_verilog(Outer(), "top")
    stores = {f"top.s{k}" for k in range(len(WORDS))} | {"top.again"}
    assert set(modules(text)) == {"top", "top.x", "top.x.a", "top.z", "top.z.b"} | stores
    assert_same_hardware(text, verilog.convert(Outer(), name="top", emit_src=False), "top")
    assert text == to_verilog(Outer(), "top")


def test_contents_of_memories() -> None:
    found = contents(to_verilog(Outer(), "top"))
    for k, (name, (width, words)) in enumerate(WORDS.items()):
        mask = (1 << width) - 1
        assert [*found[f"top.s{k}.{name}"].values()] == [*(w & mask for w in words), 0]
    assert found["top.again.flags"] == found["top.s0.flags"]


@pytest.mark.parametrize("value", [0, 9])
def test_many_words_are_set_in_short_blocks_and_equal_ones_in_loops(value: int) -> None:
    words = [*range(1, 70), *[value] * 200, 5]
    text = to_verilog(Store("many", 11, words), "top")
    blocks = text.split("  initial begin")[1:]
    assert [block.partition("\n  end")[0].count("many[") for block in blocks] == [64, 64, 1, 1, 15]
    assert [*contents(text)["top.many"].values()] == [*words, 0]
    (memory,) = externalise_memories(text)[1]
    assert memory.contents == memory_file([*words, 0], 11)


@pytest.mark.parametrize("running", [True, False])
def test_the_garbage_collector_is_left_as_it_was(running: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if running else gc.disable)()
        to_verilog(Inner(1), "top")
        assert gc.isenabled() == running
    finally:
        (gc.enable if before else gc.disable)()


def test_chip_has_its_rows_once() -> None:
    config = ChipConfig(columns=8, rows=4, lanes=4, weight_words=32, constant_pairs=64)
    text = chip_verilog(config)
    names = set(modules(text))
    rows = "setun.core.array.rows.row"
    assert f"{rows}0" in names and f"{rows}1" not in names
    assert_same_hardware(text, verilog.convert(Chip(config), name="setun", emit_src=False), "setun")


class Clocked(wiring.Component):
    """A bit through a register in each of many domains."""

    i: In(1)
    o: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        value = self.i
        for name in ("sync", *"gfedcba"):
            here = Signal(name=f"in_{name}")
            m.d[name] += here.eq(value)
            value = here
        m.d.comb += self.o.eq(value)
        return m


def test_clocks_are_ports_in_one_order() -> None:
    """Amaranth's own order is that of a set, another one in each run."""
    found = re.search(r"^module clocked\((.*)\);", to_verilog(Clocked(), "clocked"), re.MULTILINE)
    assert found
    clocks = [port for port in found[1].split(", ") if port not in ("i", "o")]
    assert clocks == [*(f"{name}_clk" for name in "abcdefg"), "clk", "rst"]
