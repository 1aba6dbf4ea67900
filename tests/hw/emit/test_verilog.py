"""Verilog for other tools: clean for Verilator's -Wall, ports named as Vivado infers them."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from bench.folders import ROOT
from setun.firmware.config import ChipConfig
from setun.firmware.numerics.options import PRESETS
from setun.hw.emit.verilog import TOP, WAIVED, chip_ports, chip_verilog
from setun.sim.simulator.tools import find_tools

SMALL = {"columns": 8, "rows": 4, "lanes": 4, "weight_words": 512, "constant_pairs": 512}
CHIPS = {
    "axi4-64": SMALL | {"memory": "axi4-64"},
    "small": {"columns": 1, "rows": 10, "lanes": 1, "packing": "1.6b", "memory": "spram-16"}
    | {"vector": [6, 9], "clock_hz": 12_000_000, "constant_pairs": 512, "terminal": 1},
    "onchip": SMALL | {"contexts": 4, "terminal": 1, "packing": "1.6b"},
    "sdram-16": SMALL | {"memory": "sdram-16"},
    "sdram-32": SMALL | {"memory": "sdram-32", "packing": "1.6b", "contexts": 2},
    "axi4-512": SMALL | {"memory": "axi4-512"},
    "qspi": SMALL | {"memory": "qspi"},
    "spram": SMALL | {"memory": "spram"},
    "pumped": SMALL | {"pump": 2, "lanes": 2},
    "all-four": SMALL | PRESETS["all-four"].to_dict(),
}
QUICK = ("axi4-64", "small")
# ARM IHI 0022, without the signals that a master may leave out and these leave out.
VIVADO = {
    *(f"m_axi_a{c}{name}" for c in "rw" for name in ("id", "addr", "len", "size", "burst", "lock")),
    *(f"m_axi_a{c}{name}" for c in "rw" for name in ("cache", "prot", "valid", "ready")),
    *(f"m_axi_w{name}" for name in ("data", "strb", "last", "valid", "ready")),
    *(f"m_axi_b{name}" for name in ("id", "resp", "valid", "ready")),
    *(f"m_axi_r{name}" for name in ("id", "data", "resp", "last", "valid", "ready")),
}


def chip(name: str) -> ChipConfig:
    return ChipConfig.from_dict(ChipConfig().to_dict() | CHIPS[name])


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in CHIPS]
)
def test_lint_and_ports(name: str, tmp_path: Path) -> None:
    tools, text = find_tools("verilator"), chip_verilog(chip(name))
    (tmp_path / "setun.v").write_text(text)
    line = [*tools.command, "--lint-only", "-Wall", "--top-module", TOP, "setun.v"]
    environment = {**os.environ, "VERILATOR_ROOT": str(tools.include)}
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[:2000]
    waived = re.findall(r"lint_off (\w+)", text)
    assert waived == sorted(WAIVED) and "verilator" not in text.split("module ", 1)[1]
    ports = chip_ports(chip(name))
    header = re.search(rf"^module {TOP}\(([^)]*)\);", text, re.MULTILINE)
    assert header and set(re.findall(r"\w+", header[1])) == set(ports)
    for port, about in ports.items():
        way, bits = re.match(r"(input|output), (\d+) bit", about).groups()
        span = "" if bits == "1" else f"[{int(bits) - 1}:0] "
        assert f"\n  {way} {span}{port};" in text, port


@pytest.mark.parametrize("width", [64, 128, 256, 512])
def test_an_axi_master_is_one_interface_for_vivado(width: int) -> None:
    config = ChipConfig(columns=8, rows=4, lanes=4, memory=f"axi4-{width}")
    assert {name for name in chip_ports(config) if "axi" in name} == VIVADO
    assert chip_ports(config)["m_axi_rdata"].startswith(f"input, {width} bit")


def test_documents_name_the_ports_that_there_are() -> None:
    named = set()
    for page in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]:
        text = page.read_text("utf-8")
        assert not re.search(r"(?<!m_)\baxi_|memory__", text), page
        named |= set(re.findall(r"\bm_axi_(?:\w+|…)", text))
    assert named and named - {"m_axi_…"} <= VIVADO
