"""Memories, cores and FPGA families are objects: a list in each layer, and no name decides."""

import ast
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from bench.folders import ROOT
from setun import boards
from setun.boards.building import parts
from setun.boards.flashing import Built, plan
from setun.estimate import cores as core_estimates
from setun.estimate import memories as memory_estimates
from setun.estimate.chip import estimate
from setun.firmware.config import ChipConfig
from setun.firmware.core_kinds import CORES, ParallelKind
from setun.firmware.errors import SetunError
from setun.firmware.image.memory_layout import sized_for
from setun.firmware.link import identity
from setun.firmware.memory_kinds import KINDS, ONCHIP, MemoryKind
from setun.hw import cores
from setun.hw.chip import Chip
from setun.hw.control.generation import COUNTERS
from setun.hw.emit.resources import block_ram
from setun.hw.emit.verilog import chip_ports
from setun.hw.fpga.ecp5.family import Ecp5
from setun.hw.fpga.families import ECP5, FAMILIES
from setun.hw.fpga.family import WORDS
from setun.hw.fpga.flow.bitstream import design_for
from setun.hw.link.signature import Ties
from setun.hw.memory import kinds
from setun.hw.parallel import ParallelGateware
from setun.models.random import random_image
from setun.sim.memories import kinds as models

# Chips are made, not elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

MEMORY_TABLES = {
    "gateware": kinds.GATEWARE,
    "model": models.MODELS,
    "estimate": memory_estimates.ESTIMATES,
}
CORE_TABLES = {"gateware": cores.CORES, "estimate": core_estimates.CORES}
# As chips report them: the order stays.
REPORTED = [
    "onchip",
    "sdram-16",
    "sdram-32",
    "axi4-64",
    "axi4-128",
    "axi4-256",
    "axi4-512",
    "qspi",
    "spram",
    "spram-16",
    "sdram-16x2",
]
# INFO records of chips that were built before kinds were objects.
RECORDS = {
    "ulx3s-85f": """
        06a7b8fe4281a7af1420100204010004080900000009d4090000c0280000550000000002000000030000
        80010000904e5a03c0c62d0000002000000000000100000000000000000000000000000000000000
    """,
    "icebreaker": """
        067215123da2c6de20010a0101010901060900000009a0b40000201c00003b0000008001000000020000
        00010000406f400140420f0000002000000000000100000000000000000000000000000000000000
    """,
}


def lacking(names: set[str], tables: dict[str, dict]) -> dict[str, set[str]]:
    """What each table has not, or has too much."""
    return {layer: names ^ table.keys() for layer, table in tables.items() if names ^ table.keys()}


def test_every_layer_has_every_memory() -> None:
    assert lacking(set(KINDS), MEMORY_TABLES) == {}
    assert lacking({*KINDS, "hbm"}, MEMORY_TABLES) == {layer: {"hbm"} for layer in MEMORY_TABLES}


def test_every_layer_has_every_core() -> None:
    assert lacking(set(CORES), CORE_TABLES) == {}
    assert {kind.core.name for kind in KINDS.values()} == set(CORES)


def test_memories_answer_what_follows_from_them() -> None:
    for name, kind in KINDS.items():
        assert kind.name == name and kind.external is (kind is not ONCHIP)
        assert bool(kind.sector) is (kind.loading.value == "flash")
        gateware = kinds.GATEWARE[name]
        assert hasattr(gateware, "usual") is kind.parts
        if kind.parts:
            assert gateware.usual in gateware.parts


def test_order_in_the_info_record() -> None:
    assert list(KINDS)[: len(REPORTED)] == REPORTED


@pytest.mark.parametrize("name", RECORDS)
def test_records_of_older_chips(name: str) -> None:
    record = bytes.fromhex(RECORDS[name])
    config = identity.decode(record)
    assert identity.encode(config) == record
    options = boards.get(name).usual({})
    assert all(config.to_dict()[key] == value for key, value in options.items())


def test_configurations_of_another_core_are_refused_by_it() -> None:
    with pytest.raises(Exception, match="columns: must be 1 with memory spram-16"):
        ChipConfig(memory="spram-16")
    with pytest.raises(Exception, match="columns: must be a power of two"):
        replace(ChipConfig(), columns=24)


def test_resources_have_neutral_names() -> None:
    for name, family in FAMILIES.items():
        assert family.name == name
        known = set(family.resources.values())
        assert known <= {*WORDS, "plls", "lut_ram_ports"}
        assert {resource for costs in family.costs.values() for resource in costs} <= known
    for name in boards.names():
        board = boards.get(name)
        counted = set(board.fpga.resources.values())
        if board.parts:  # no FPGA, no names of cells: what its usual parts have
            assert not counted
            counted = set(WORDS)
        assert board.capacity.keys() <= counted


def test_a_new_memory_is_an_entry_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "toy", MemoryKind(name="toy", place="a toy", beat=128))
    monkeypatch.setitem(kinds.GATEWARE, "toy", kinds.Axi4())
    monkeypatch.setitem(models.MODELS, "toy", models.Axi4())
    like_axi4 = memory_estimates.MemoryEstimate("axi4", memory_estimates.AXI_LATENCY)
    monkeypatch.setitem(memory_estimates.ESTIMATES, "toy", like_axi4)
    image = random_image((64, 1, 64), seed=3)
    config = sized_for(image, ChipConfig(columns=8, rows=4, lanes=4, memory="toy"))
    assert identity.decode(identity.encode(config)) == config
    assert config.weight_port == 128 and config.shares_weights
    assert Chip(config).memory.rdata.shape().width == 128
    assert "m_axi_araddr" in chip_ports(config)
    held = kinds.memory_gateware(config).capacity(config)
    assert models.memory_model(config).words(config) == (128, held * 8 // 128)
    board = boards.get("ulx3s-85f")
    found = estimate(image, config, board)
    other = estimate(image, config.override(memory="axi4-128"), board)
    assert found.fits and found.needed == other.needed and found.cycles == other.cycles


def test_a_new_core_is_an_entry_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    class ToyKind(ParallelKind):
        name = "toy"

        def panel(self, config: ChipConfig) -> int:
            return 1

    class ToyGateware(ParallelGateware):
        counters = ()

        def ties(self, config: ChipConfig) -> Ties:
            return replace(super().ties(config), counters=len(COUNTERS), shared=False)

    core = ToyKind()
    monkeypatch.setitem(CORES, "toy", core)
    monkeypatch.setitem(cores.CORES, "toy", ToyGateware())
    monkeypatch.setitem(core_estimates.CORES, "toy", core_estimates.CORES["parallel"])
    monkeypatch.setitem(KINDS, "onchip", replace(ONCHIP, core=core))
    config = ChipConfig(columns=8, rows=4, lanes=4)
    assert config.panel == 1 and Chip(config).core.config is config
    assert set(block_ram(config, ECP5)) >= {"program", "vector", "slots"}
    board = boards.get("ulx3s-85f")
    assert estimate(random_image((64, 1, 64), seed=3), config, board).cycles_per_token > 0


def test_a_new_family_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    class Toy(Ecp5):
        name = "toy"
        words: ClassVar = {"luts": "toy cells"}
        resources: ClassVar = {**ECP5.resources, "TOY": "toys"}
        block_shapes: ClassVar = {256: 18, 512: 9}
        patching = None
        sram = False

    monkeypatch.setitem(FAMILIES, "toy", Toy())
    board = replace(boards.get("ulx3s-85f"), name="toy", family="toy")
    image = random_image((64, 1, 64), seed=3)
    config = sized_for(image, ChipConfig(columns=8, rows=4, lanes=4))
    made = parts(image, config, board)
    assert made.model is None  # nothing to put models into layouts
    design = design_for(made.chip, board, name="setun", clock_mhz=board.clock_mhz)
    assert design.family is FAMILIES["toy"] and "setun" in design.rtlil
    found = estimate(image, config, board)
    double = estimate(image, config, boards.get("ulx3s-85f"))
    assert found.utilisation["block_ram"][0] > double.utilisation["block_ram"][0]
    assert board.fpga.neutral({"TRELLIS_COMB": [5, 9], "TOY": [1, 2], "DCCA": [0, 56]}) == {
        "DCCA": [0, 56],
        "luts": [5, 9],
        "toys": [1, 2],
    }
    with pytest.raises(SetunError, match="must be flash on toy"):
        plan(board, Built(Path("setun.bit"), {"config": config.to_dict()}, None), "sram")


def decided_by_name(path: Path, names: set[str]) -> list[str]:
    """Comparisons in a file with one of the names, or with what some begin with."""
    tested = {"startswith", "endswith", "partition", "split", "removeprefix", "index"}
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        parts: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            parts = list(node.args) if node.func.attr in tested else []
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        texts = [n.value for p in parts for n in ast.walk(p) if isinstance(n, ast.Constant)]
        found += [f"{path}:{node.lineno} {text}" for text in texts if text in names]  # type: ignore[attr-defined]
    return found


def test_no_name_decides() -> None:
    names = {*KINDS, *CORES, *FAMILIES}
    names |= {name.partition("-")[0] for name in KINDS}
    sources = [
        path
        for room in ("firmware", "hw", "sim", "setun", "train")
        for path in (ROOT / room).rglob("*.py")
    ]
    assert len(sources) > 200
    assert [line for path in sources for line in decided_by_name(path, names)] == []


def test_a_name_that_decides_is_found(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text('if memory == "qspi" or memory.startswith("sdram"):\n    pass\n')
    assert len(decided_by_name(path, {"qspi", "sdram"})) == 2
