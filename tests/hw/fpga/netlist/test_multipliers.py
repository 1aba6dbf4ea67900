"""What numerics make of the netlist: a chip with L-Mul has no multiplier."""

import re
from collections import Counter
from typing import Any

import pytest
from amaranth.back import rtlil

from setun.firmware.config import ChipConfig
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import PRESETS, SEGMENTS
from setun.hw.alternatives.products import cells
from setun.hw.arith import CodeDivider, FloatMultiplier, LMul, WholeLMulSquare, WholeSquare
from setun.hw.attention.exponential import Exponential
from setun.hw.attention.rotator import Rotator
from setun.hw.attention.unit import Attention
from setun.hw.chip import Chip

CELL = re.compile(r"cell \$mul .*?\n(.*?)\n *end", re.S)
# Whose index a constant multiplies, to say which bits of a word are meant: no multiplier.
CONSTANT = re.compile(r"connect \\[AB] \d+'")


def products(unit: Any) -> Counter[str]:
    """`$mul` cells of two signals by module, in the RTLIL of a component."""
    text = rtlil.convert(unit, name="top", emit_src=False)
    found: Counter[str] = Counter()
    for module in re.split(r"^module ", text, flags=re.M)[1:]:
        name = module.split(maxsplit=1)[0].removeprefix("\\")
        found[name] += sum(not CONSTANT.search(cell) for cell in CELL.findall(module))
    return +found


def config(numerics: str, **options: Any) -> ChipConfig:
    shape = {"columns": 8, "rows": 8, "lanes": 2, "contexts": 2} | options
    return ChipConfig(**shape, numerics=PRESETS[numerics])


def chip(numerics: str, **options: Any) -> Chip:
    return Chip(config(numerics, **options))


ATTENDING: dict[str, Any] = {
    "attention": 4,
    "queries": 2,
    "positions": 16,
    "cache_elements": 128,
    "head_elements": 8,
    "head_norms": 1,
}
LMUL = ("lmul", "lmul-paper")


def test_products_are_counted() -> None:
    assert products(FloatMultiplier(Format())).total() == 1
    assert products(WholeSquare(12)).total() == 1
    assert products(WholeLMulSquare(12)).total() == 0


@pytest.mark.slow
@pytest.mark.parametrize("preset", LMUL)
def test_a_chip_with_lmul_multiplies_nothing(preset: str) -> None:
    exact, lmul = products(chip("default")), products(chip(preset))
    # Per lane five in the quantiser (two products, code, two squares), five in the sink (scale,
    # three of the kernel and the sigmoid's) and a square; one in scale unit, sink, its statistic
    # and the sampler.
    assert exact.total() == 2 * (5 + 5 + 1) + 4
    assert lmul == Counter()


def test_attention_with_lmul_multiplies_nothing() -> None:
    """Per lane two of RoPE, an output and a norm's square; each query's codes and exponential; the
    table of turns."""
    exact = products(Attention(config("default", **ATTENDING)))
    assert exact.total() == 2 * (2 + 1 + 1) + 2 * (4 + 1) + 1
    for preset in LMUL:
        assert products(Attention(config(preset, **ATTENDING))) == Counter()


@pytest.mark.slow
def test_noise_of_a_chip_with_lmul_is_a_table() -> None:
    """Constants multiply in the RTLIL of both chips, but not numbers of more than an index."""
    for preset, count in (("default", 1), ("lmul", 0)):
        text = rtlil.convert(chip(preset), name="top", emit_src=False)
        (noise,) = re.findall(r"^module \S*sampler\.noise\n.*?^end", text, flags=re.M | re.S)
        assert len(CELL.findall(noise)) == count


def test_units_without_multipliers_stay_so() -> None:
    """Synthesis finds no multiplication in additions."""
    for unit in (
        LMul(Format()),
        LMul(Format(), SEGMENTS),
        FloatMultiplier(Format(), adders=True),
        CodeDivider(Format()),
        WholeLMulSquare(12, SEGMENTS),
        Exponential(adders=True),
        Rotator(config("lmul", **ATTENDING)),
    ):
        found = cells(unit, "ecp5")
        assert found["LUT4"] > 10 and "MULT18X18D" not in found
    assert cells(FloatMultiplier(Format()), "ecp5")["MULT18X18D"] == 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_chip_with_lmul_has_no_multiplier_blocks() -> None:
    assert "MULT18X18D" not in cells(chip("lmul"), "ecp5")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("preset", LMUL)
def test_a_transformers_chip_with_lmul_has_no_multiplier_blocks(preset: str) -> None:
    assert "MULT18X18D" not in cells(chip(preset, **ATTENDING), "ecp5")
    if preset == "lmul":
        assert cells(chip("default", **ATTENDING), "ecp5")["MULT18X18D"] > 40
