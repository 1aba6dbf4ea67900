"""Amaranth to Verilog, as `amaranth.back.verilog` does it, for chips of thousands of lanes.

There every bit of a memory's contents becomes a net of its own, and every instance of a component
a module of its own. Here the contents go straight into the Verilog, and equal modules are one.
"""

import copy
import gc
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from amaranth._toolchain import require_tool
from amaranth._toolchain.yosys import YosysError, find_yosys
from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Value
from amaranth.hdl._ast import SignalDict
from amaranth.hdl._ir import Fragment, PortDirection, build_netlist
from amaranth.hdl._nir import Memory, Netlist
from amaranth.hdl._xfrm import DomainCollector
from amaranth.lib.wiring import Component, In

# Beginning of a module, or what Yosys writes of a memory with one initial word.
_PLACE = re.compile(
    r"^module (?:\\(?P<escaped>\S+) |(?P<module>\w+))\("
    r"|^(?P<head>  initial begin\n)    (?P<memory>\\\S+ |\w+)(?P<space> ?)\[0\] = [^\n]*\n"
    r"(?P<tail>  end\n)",
    re.MULTILINE,
)
# Words of a memory that an initial block sets: Yosys takes a time that grows with its square.
BLOCK = 64
_NO_BITS = re.compile(r"^ *(wire|reg) \[-1:0\] [^;]*;\n", re.MULTILINE)
Words = tuple[int, Sequence[int]]  # width, contents
Ports = dict[str, tuple[Value, PortDirection]]


def to_verilog(component: Component, name: str, prefixes: Mapping[str, str] | None = None) -> str:
    """Verilog of a component as top module `name`, its members as ports; deterministic.

    A port is named by its path, parts joined by two underscores; what a member has inside begins
    with its prefix instead where `prefixes` has one.

    Modules that differ in nothing but their place are written once, under the path of the first;
    names and paths of instances are those of the design. A module with a memory is never shared:
    its name and the memory's tell where in the design the contents are.
    """
    with _collector_paused():
        fragment = Fragment.get(component, None)
        ports = _ports(component, prefixes or {}) | _clocks(fragment)
        netlist = build_netlist(fragment, ports=ports, name=name)
        design = _Design(netlist)
        text = design.rtlil()
    return _with_contents(verilog_of(text), design.contents)


def verilog_of(text: str, *passes: str) -> str:
    """Verilog of RTLIL `text`, as `amaranth.back.verilog` writes it, after further Yosys passes.

    Amaranth hands Yosys a script with the RTLIL in it, which takes Yosys ten times as long to read
    as a file.
    """
    yosys: Any = find_yosys(lambda version: version >= (0, 40))
    package = getattr(yosys, "YOSYS_PACKAGE", None)
    start = [sys.executable, "-m", package] if package else [require_tool(yosys.YOSYS_BINARY)]
    script = ["read_rtlil design.il", "proc -nomux -norom", "memory_collect", *passes]
    command = [*start, "-q", "-p", "; ".join([*script, "write_verilog -norename design.v"])]
    with tempfile.TemporaryDirectory(prefix="setun-") as name:
        folder = Path(name)
        (folder / "design.il").write_text(text, "utf-8")
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise YosysError(done.stderr.strip())
        return _NO_BITS.sub("", (folder / "design.v").read_text("utf-8"))


@contextmanager
def _collector_paused() -> Iterator[None]:
    """A netlist is millions of objects that live until it is written: searching them for garbage
    again and again takes as long as making them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _clocks(fragment: Fragment) -> Ports:
    """Ports of the domains that a component leaves to its surroundings; only `sync` has a reset.

    Amaranth would add them in an order that differs from one run to the next.
    """
    collector = DomainCollector()
    collector(fragment)
    found: Ports = {}
    for name in sorted(collector.used_domains - collector.defined_domains - {"comb"}):
        domain = ClockDomain(name, reset_less=name != "sync")
        fragment.add_domains(domain)
        for signal in (domain.clk, domain.rst):
            if signal is not None:
                found[signal.name] = (signal, PortDirection.Input)
    return found


def port_name(path: Sequence[str | int], prefixes: Mapping[str, str]) -> str:
    """Name of the port at a path in a component's signature; see `to_verilog`."""
    first, *rest = map(str, path)
    begin = prefixes.get(first, f"{first}__") if rest else first
    return begin + "__".join(rest)


def _ports(component: Component, prefixes: Mapping[str, str]) -> Ports:
    return {
        port_name(path, prefixes): (
            Value.cast(value),
            PortDirection.Input if member.flow == In else PortDirection.Output,
        )
        for path, member, value in component.signature.flatten(component)
    }


def _ports_by_name(item: tuple[str, Any]) -> tuple[bool, str]:
    """Sorts what a module is made of: ports by name, then everything else as it is."""
    name, thing = item
    port = isinstance(thing, rtlil.Wire) and thing.port_kind is not None
    return not port, name if port else ""


class _Emitter(rtlil.ModuleEmitter):
    """Emits a module with the first word of each memory, 0, and keeps the contents."""

    contents: dict[str, Words]

    def emit_memory(self, cell_idx: int, cell: Memory) -> None:
        self.contents[cell.name] = cell.width, cell.init
        first = copy.copy(cell)
        first.depth, first.init = 1, (0,)
        super().emit_memory(cell_idx, first)


class _Design:
    """RTLIL of a netlist, equal modules once; `contents` of memories by module and name."""

    def __init__(self, netlist: Netlist) -> None:
        self.netlist = netlist
        self.contents: dict[tuple[str, str], Words] = {}
        self._empty = rtlil.EmptyModuleChecker(netlist)
        self._texts: dict[int, str] = {}  # by number of the module
        self._first: dict[str, str] = {}  # by text but for the name: module that is written
        self._written: dict[str, str] = {}  # by type of cell in a parent: the one to use

    def rtlil(self) -> str:
        self._emit(0)
        return "".join(text for _, text in sorted(self._texts.items()))

    def _emit(self, number: int) -> None:
        """The module and all below it, innermost first: parents of equal ones are equal."""
        if self._empty.is_empty(number):
            return
        module = self.netlist.modules[number]
        for below in module.submodules:
            self._emit(below)
        name = ".".join(module.name)
        builder = rtlil.Module(name, emit_src=False)
        if number == 0:
            builder.attribute("top", 1)
        emitter = _Emitter(builder, self.netlist, module, SignalDict(), empty_checker=self._empty)
        emitter.contents = {}
        emitter.emit()
        for item in builder.contents.values():
            if isinstance(item, rtlil.Cell):
                item.kind = self._written.get(item.kind, item.kind)
                item.ports = dict(sorted(item.ports.items()))
        if number != 0:
            # The order of ports tells a module's place.
            builder.contents = dict(sorted(builder.contents.items(), key=_ports_by_name))
        lines = rtlil.Emitter()
        builder.emit(lines)
        text = str(lines)
        self.contents |= {(name, memory): words for memory, words in emitter.contents.items()}
        if not emitter.contents:
            first = self._first.setdefault(text.replace(f"module \\{name}\n", "", 1), name)
            if first != name:
                self._written[f"\\{name}"] = f"\\{first}"
                return
        self._texts[number] = text


def _with_contents(text: str, contents: dict[tuple[str, str], Words]) -> str:
    """Verilog of `_Design.rtlil` with all words of its memories."""
    parts, end, module = [], 0, ""
    left = dict(contents)
    for place in _PLACE.finditer(text):
        if place["memory"] is None:
            module = place["escaped"] or place["module"]
            continue
        memory = place["memory"].strip().lstrip("\\")
        width, words = left.pop((module, memory))
        label = place["memory"] + place["space"]
        name = f"words_{end}"  # of a block: no other in the text has this number
        parts.append(text[end : place.start()])
        parts += _initial_blocks(label, width, words, place["head"], place["tail"], name)
        end = place.end()
    assert not left, f"memories without a place in the Verilog: {sorted(left)}"
    return "".join([*parts, text[end:]])


def _initial_blocks(
    label: str, width: int, words: Sequence[int], head: str, tail: str, name: str
) -> Iterator[str]:
    """Blocks that set `BLOCK` words each, in a loop where they are equal."""
    digits, mask = -(-width // 4), (1 << width) - 1

    def value(word: int) -> str:
        return f"{width}'h{word & mask:0{digits}x}"

    for start in range(0, len(words), BLOCK):
        part = words[start : start + BLOCK]
        if len(part) > 1 and all(word == part[0] for word in part):
            yield f"{head.rstrip()} : {name}_{start}\n    integer i;\n"
            yield f"    for (i = {start}; i < {start + len(part)}; i = i + 1)\n"
            yield f"      {label}[i] = {value(part[0])};\n"
        else:
            yield head
            yield from (f"    {label}[{start + k}] = {value(w)};\n" for k, w in enumerate(part))
        yield tail
