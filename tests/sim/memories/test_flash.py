"""The flash model finds what breaks a datasheet, and nothing else."""

import gc
from dataclasses import replace

import pytest

from bench.runner import run_bench
from hw.memory.controllers.qspi_harness import OTHER_BITS, contents
from setun.hw.memory.controllers.qspi_parts import PARTS
from setun.sim.memories.flash import FlashModel
from setun.sim.memories.flash_rules import Rule, describe

DEPTH = 3 << 12


def test_scripts() -> None:
    part = replace(PARTS["W25Q32JV"], settle_us=1.0)
    model = FlashModel(
        part,
        100e6,
        depth=DEPTH,
        init=contents(DEPTH),
        program_us=2.0,
        erase_us=20.0,
        other_bits=OTHER_BITS,
    )
    run_bench(model, "sim.memories.bench_flash", parameters={"depth": DEPTH}, seed=64)


def test_a_violation_is_said_in_full() -> None:
    found = {"code": Rule.LATCH, "opcode": 0x20, "cycle": 1234}
    assert describe(found) == "cycle 1234, opcode 0x20: a write without the write enable latch"


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_impossible_models_are_refused() -> None:
    with pytest.raises(ValueError, match="SCK"):
        FlashModel(PARTS["IS25LP128F"], 161e6)
    with pytest.raises(ValueError, match="whole sectors"):
        FlashModel(PARTS["W25Q32JV"], 100e6, first=2048)
    gc.collect()  # while Amaranth's warning of a component never used is filtered
