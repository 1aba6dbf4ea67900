"""`build_bitstream` and `unit_report` with the real tools."""

import json
from pathlib import Path

import pytest
from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from setun import boards
from setun.firmware.errors import SetunError
from setun.hw.fpga.flow.bitstream import build_bitstream
from setun.hw.fpga.flow.cache import Cache
from setun.hw.fpga.flow.unit import unit_report

pytestmark = pytest.mark.slow

BOARD = boards.get("ulx3s-85f")


class Echo(wiring.Component):
    """Sends back what it hears, two cycles later."""

    rx: In(1)
    tx: Out(1, init=1)

    def elaborate(self, platform):
        m = Module()
        stage = Signal(2, init=3)
        m.d.sync += [stage.eq(Cat(self.rx, stage)), self.tx.eq(stage[1])]
        return m


class Slow(Echo):
    """A chain of multiplications in one cycle: no FPGA does it at 100 MHz."""

    def elaborate(self, platform):
        m = Module()
        x = Signal(16)
        m.d.sync += x.eq(x * (x + 1) * (x + 3) * (x + 5) + self.rx)
        m.d.comb += self.tx.eq(x.xor())
        return m


class Huge(Echo):
    """More memory than the FPGA has."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=18, depth=300 * 1024, init=[])
        read, write = memory.read_port(), memory.write_port()
        m.d.sync += [read.addr.eq(read.addr + 1), write.addr.eq(write.addr + 3)]
        m.d.comb += [write.en.eq(self.rx), write.data.eq(write.addr), read.en.eq(1)]
        m.d.comb += self.tx.eq(read.data.xor())
        return m


def test_tools_build_the_same_bytes_twice(tmp_path: Path):
    bits = set()
    for attempt in ("a", "b"):
        result = build_bitstream(
            Echo,
            BOARD,
            name="echo",
            out=tmp_path / attempt,
            clock_mhz=60.0,
            cache=Cache(tmp_path / f"cache-{attempt}"),
        )
        assert result["timing_met"] and result["fmax_mhz"] > 60
        assert result["utilisation"]["plls"] == [1, 4]
        for cell, count in BOARD.capacity.items():
            assert result["utilisation"][cell][1] == count
        bits.add((tmp_path / attempt / "echo.bit").read_bytes())
    assert len(bits) == 1 and len(bits.pop()) > 100_000


def test_tools_refuse_what_cannot_meet_timing(tmp_path: Path):
    with pytest.raises(SetunError, match="must reach 100 MHz"):
        build_bitstream(
            Slow,
            BOARD,
            name="slow",
            out=tmp_path / "out",
            clock_mhz=100.0,
            cache=Cache(tmp_path / "cache"),
        )
    assert not (tmp_path / "out/slow.bit").exists()
    assert json.loads((tmp_path / "out/report.json").read_text())["timing_met"] is False


def test_tools_refuse_what_does_not_fit(tmp_path: Path):
    with pytest.raises(SetunError, match=r"block_ram \d+ of 208"):
        build_bitstream(
            Huge,
            BOARD,
            name="huge",
            out=tmp_path / "out",
            clock_mhz=50.0,
            cache=Cache(tmp_path / "cache"),
        )


def test_unit_report_counts_the_unit_alone(tmp_path: Path):
    class Adder(wiring.Component):
        a: In(16)
        b: In(16)
        total: Out(17)

        def elaborate(self, platform):
            m = Module()
            m.d.sync += self.total.eq(self.a + self.b)
            return m

    result = unit_report(Adder, "adder", cache=Cache(tmp_path))
    assert result["ff"] == 17 and result["carry"] in (8, 9)
    assert result["lut4"] - 2 * result["carry"] in (0, 1, 2)
    assert (result["block_ram"], result["multipliers"]) == (0, 0)
    assert result["fmax_mhz"] > 150
