"""`setun build --reuse`: another model in a finished bitstream, without place and route."""

import gc
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from setun import boards
from setun.boards.flashing import open_build
from setun.cli import cli
from setun.firmware.config import ChipConfig
from setun.firmware.image import file as image_file
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import Space, lay_out
from setun.hw.chip import Chip
from setun.hw.fpga.families import ECP5
from setun.hw.fpga.flow.bit_map import BYTES, Piece, fill
from setun.hw.fpga.flow.marks import contents, marks
from setun.hw.fpga.flow.stages import Design
from setun.models.random import random_image

# Chips are described to the tools that play, not elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

SMALL = ["--board", "ulx3s-25f"]
for setting in ("memory=onchip", "columns=8", "rows=4", "lanes=2", "contexts=1", "pump=1"):
    SMALL += ["--set", setting]
PATCHING = ECP5.patching
SHAPE = (64, 1, 64)

TOOL = """
import json, os, pathlib, sys
name, arguments = {name!r}, sys.argv[1:]
if arguments == ["--version"]:
    print(name, "9.9"); sys.exit()
with open({calls!r}, "a") as calls:
    calls.write(name + "\\n")
def value(option): return arguments[arguments.index(option) + 1]
def given(file): return pathlib.Path({folder!r}, file).read_text()
if name == "yosys":
    pathlib.Path("setun.json").write_text(given("netlist.json"))
    cells = {{"num_cells_by_type": {{"DP16KD": 3}}}}
    pathlib.Path("stat.json").write_text(json.dumps({{"design": cells}}))
elif name == "nextpnr":
    clock = {{"achieved": 70.0, "constraint": float(value("--freq"))}}
    report = {{"fmax": {{"clk": clock}}, "utilization": {{}}, "critical_paths": []}}
    pathlib.Path(value("--report")).write_text(json.dumps(report))
    pathlib.Path(value("--textcfg")).write_text(given("placed.config"))
else:
    pathlib.Path(value("--bit")).write_text("bits of " + open(value("--input")).read())
"""


def invoke(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, list(args))
    return result.exit_code, result.stdout, str(result.exception or "")


def built(*args: str) -> dict:
    code, out, error = invoke("build", *args, "--json")
    assert code == 0, error
    return json.loads(out)


def model(folder: Path, seed: int, shape: tuple[int, int, int] = SHAPE) -> str:
    path = folder / f"model{seed}.setun"
    image_file.save(random_image(shape, seed=seed), path)
    return str(path)


def netlist(blocks: dict[int, np.ndarray]) -> str:
    """Blocks as cells of a netlist of Yosys."""
    cells = {}
    for number, block in blocks.items():
        words = np.zeros((64, 16, 20), np.uint8)
        words[:, :, :18] = block.reshape(64, 16, 18)
        init = {f"INITVAL_{k:02X}": "".join(map(str, words[k].ravel()[::-1])) for k in range(64)}
        cells[f"ram{number}"] = {
            "type": "DP16KD",
            "parameters": init,
            "connections": {},
            "port_directions": {},
        }
    return json.dumps({"modules": {"setun": {"ports": {}, "cells": cells}}})


def described(
    factory: Callable[[], Chip], board: object, *, name: str, clock_mhz: float, pump: int
) -> Design:
    """Instead of RTL, what it depends on; elaboration is the business of other tests."""
    chip = factory()
    assert chip.layout is not None
    words = [(int(space), w.tolist()) for space, w in chip.layout.spaces.items()]
    text = json.dumps([chip.config.to_dict(), words, clock_mhz])
    return Design(name=name, rtlil=text, family=ECP5)


class Scripted:
    """Stand-ins for the three tools: the chip's memories lie in blocks of 36 bits."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.record = folder, folder / "calls"
        for name in ("yosys", "nextpnr", "ecppack"):
            path = folder / f"{name}.py"
            path.write_text(
                TOOL.format(name=name, calls=str(self.record), folder=str(folder)), "utf-8"
            )
            variable = {"nextpnr": "NEXTPNR_ECP5"}.get(name, name.upper())
            monkeypatch.setenv(variable, f"{sys.executable} {path}")
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        monkeypatch.setattr("setun.bench.measure.measure", self.measure)
        monkeypatch.setattr("setun.hw.fpga.flow.bitstream.design_for", described)
        self.model = model(folder, 1)
        self.spoil = False

    def measure(self, board: str, name: str, image: Image, config: ChipConfig, count: int) -> list:
        """Comes before the tools: what they are about to find."""
        self.config, self.pieces = config, {}
        self.marked = contents(config, marks(config))
        for name, bits in self.marked.items():
            for first in range(0, len(bits), 512):
                for low in range(0, bits.shape[1], 36):
                    columns = tuple((k - low, k) for k in range(low, bits.shape[1])[:36])
                    number = len(self.pieces) + 3
                    self.pieces[number] = Piece(memory=name, first=first, stride=5, columns=columns)
        blocks = fill(self.pieces, self.marked)
        if self.spoil:
            del blocks[min(blocks)]
        self.put(blocks)
        return [SimpleNamespace(streams=1, cycles_per_token=1234.0)]

    def put(self, blocks: dict[int, np.ndarray]) -> None:
        """What Yosys and nextpnr will have made."""
        table = np.random.default_rng(8).integers(0, 2, (BYTES, 9), np.uint8)
        blocks = {2: table, **blocks}
        (self.folder / "netlist.json").write_text(netlist(blocks))
        empty = "\n".join([" ".join(["000"] * 8)] * (BYTES // 8))
        text = "".join(f".bram_init {number}\n{empty}\n\n" for number in blocks)
        (self.folder / "placed.config").write_text(PATCHING.with_blocks(text, blocks))

    def calls(self) -> list[str]:
        """Tools run since the last question."""
        lines = self.record.read_text().split() if self.record.exists() else []
        self.record.unlink(missing_ok=True)
        return lines

    def holds(self, out: Path, image: str) -> bool:
        """Whether this model lies in the block RAM of the bitstream, and the table beside it."""
        text = (out / "setun.bit").read_text().removeprefix("bits of ")
        layout = lay_out(image_file.load(Path(image)), self.config)
        wanted = fill(self.pieces, contents(self.config, layout))
        found = PATCHING.placed_blocks(text)
        given = PATCHING.placed_blocks((self.folder / "placed.config").read_text())
        return all(np.array_equal(found[k], (given | wanted)[k]) for k in found)


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    yield Scripted(tmp_path, monkeypatch)
    gc.collect()  # chips go here, where nothing is said of them, not in another test


def test_another_model_needs_the_packer_only(scripted: Scripted, tmp_path: Path) -> None:
    out, other, again = (str(tmp_path / name) for name in ("out", "other", "again"))
    second, third = model(tmp_path, 2), model(tmp_path, 3, (64, 1, 64))
    first = built(*SMALL, "--model", scripted.model, "-o", out)
    assert first["reusable"] is True
    assert scripted.calls() == ["yosys", "nextpnr", "ecppack"]
    assert scripted.holds(Path(out), scripted.model)

    report = built("--reuse", out, "--model", second, "-o", other)
    assert scripted.calls() == ["ecppack"]
    assert scripted.holds(Path(other), second) and not scripted.holds(Path(other), scripted.model)
    packed = (Path(other) / "setun.bit").read_bytes()
    assert report["bitstream_sha256"] == hashlib.sha256(packed).hexdigest()
    assert report["model"] == second and report["reused"] == out
    assert report["model_hash"] == random_image(SHAPE, seed=2).model_hash != first["model_hash"]
    assert (report["cycles_per_token"], report["fmax_mhz"]) == (1234.0, first["fmax_mhz"])
    assert json.loads((Path(other) / "report.json").read_text()) == report
    same = {"config.toml", "setun.finished"}
    assert all((Path(other) / n).read_bytes() == (Path(out) / n).read_bytes() for n in same)

    # From scratch it is the same file, and of the cache's placed chip.
    built(*SMALL, "--model", second, "-o", again)
    assert scripted.calls() == ["ecppack"]
    assert (Path(again) / "setun.bit").read_bytes() == packed
    # What was reused can be reused.
    built("--board", "ulx3s-25f", "--reuse", other, "--model", third, "-o", again)
    assert scripted.holds(Path(again), third)


def test_model_of_another_shape(scripted: Scripted, tmp_path: Path) -> None:
    out, other = str(tmp_path / "out"), str(tmp_path / "other")
    built(*SMALL, "--model", scripted.model, "-o", out)
    smaller = model(tmp_path, 4, (32, 1, 32))
    report = built("--reuse", out, "--model", smaller, "-o", other)
    assert report["cycles_per_token"] is None and report["tokens_per_second"] is None
    assert scripted.holds(Path(other), smaller)
    larger = model(tmp_path, 5, (64, 2, 64))
    code, _, error = invoke("build", "--reuse", out, "--model", larger, "-o", str(tmp_path / "no"))
    assert code != 0 and "model: must fit the chip" in error and "weight_words" in error
    assert not (tmp_path / "no").exists()


def test_another_model_in_flash(scripted: Scripted, tmp_path: Path) -> None:
    """Block RAM has nothing of it; both files come with their hashes, as `setun flash` wants."""
    flash = [*SMALL, "--set", "memory=qspi"]
    out, other, again = (tmp_path / name for name in ("out", "other", "again"))
    second = model(tmp_path, 2)
    assert built(*flash, "--model", scripted.model, "-o", str(out))["reusable"] is True
    assert not any("weights" in name for name in scripted.marked)
    assert scripted.calls() == ["yosys", "nextpnr", "ecppack"]
    report = built("--reuse", str(out), "--model", second, "-o", str(other))
    assert scripted.calls() == ["ecppack"]
    assert scripted.holds(other, second) and scripted.holds(other, scripted.model)
    assert (other / "setun.bit").read_bytes() == (out / "setun.bit").read_bytes()
    layout = lay_out(image_file.load(Path(second)), scripted.config)
    opened = open_build(other, boards.get("ulx3s-25f"))
    assert opened.report == report and opened.weights is not None
    weights = opened.weights.read_bytes()
    assert weights == layout.spaces[Space.WEIGHTS].astype("<u4").tobytes()
    assert weights != (out / "weights.bin").read_bytes()
    built(*flash, "--model", second, "-o", str(again))
    for name in ("setun.bit", "weights.bin"):
        assert (again / name).read_bytes() == (other / name).read_bytes()


def test_chip_whose_memory_is_not_block_ram(scripted: Scripted, tmp_path: Path) -> None:
    """It is placed with its model, and says that it takes no other."""
    scripted.spoil = True
    out = tmp_path / "out"
    report = built(*SMALL, "--model", scripted.model, "-o", str(out))
    assert report["reusable"] is False and not (out / "setun.finished").exists()
    assert scripted.calls() == ["yosys", "yosys", "nextpnr", "ecppack"]
    other = str(tmp_path / "other")
    code, _, error = invoke("build", "--reuse", str(out), "--model", scripted.model, "-o", other)
    assert code == 1 and "no such file (put it on the chip: setun load)" in error


def test_layout_that_lost_a_mark_is_refused(
    scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were place and route to change contents, nothing would be packed."""
    put = scripted.put

    def changed(blocks: dict[int, np.ndarray]) -> None:
        put(blocks)
        path = tmp_path / "placed.config"
        blocks[3][7, 3] ^= 1
        path.write_text(PATCHING.with_blocks(path.read_text(), blocks))

    monkeypatch.setattr(scripted, "put", changed)
    out = tmp_path / "out"
    code, _, error = invoke("build", *SMALL, "--model", scripted.model, "-o", str(out))
    assert code != 0 and "must lie in block RAM" in error
    assert not (out / "setun.bit").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--set", "rows=8"],
        ["--clock", "50"],
        ["--seed", "2"],
        ["--seeds", "2"],
        ["--dry-run"],
        ["--numerics", "fp8"],
        ["--allow-timing-fail"],
    ],
)
def test_options_of_the_chip_are_refused(tmp_path: Path, options: list[str]) -> None:
    code, _, error = invoke("build", "--reuse", str(tmp_path), "-o", str(tmp_path / "o"), *options)
    assert code != 0 and "must stand without options" in error and options[0] in error
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (None, "no such file (build it with setun build)"),
        ({"config": {"memory": "spram-16"}}, "found memory spram-16 (put the model on the running"),
        ({"config": {"memory": "sdram-16"}}, "found memory sdram-16 (put the model on the running"),
        ({"config": 3}, "no such file (build it with setun build)"),
    ],
)
def test_folders_without_a_layout(tmp_path: Path, report: dict | None, words: str) -> None:
    if report is not None:
        (tmp_path / "report.json").write_text(json.dumps(report))
    code, _, error = invoke(
        "build", "--reuse", str(tmp_path), "--model", "shakespeare", "-o", str(tmp_path / "o")
    )
    assert code == 1 and words in error


def test_board_is_that_of_the_build(scripted: Scripted, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    built(*SMALL, "--model", scripted.model, "-o", out)
    args = ["--reuse", out, "--model", scripted.model, "-o", str(tmp_path / "other")]
    code, _, error = invoke("build", "--board", "ulx3s-85f", *args)
    assert code != 0 and "must be ulx3s-25f; found ulx3s-85f" in error
    damaged = Path(out) / "setun.finished"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    code, _, error = invoke("build", *args)
    assert code != 0 and "truncated" in error
    code, _, error = invoke("build", "-o", out)
    assert code == 2
