"""What numerics make of the netlist: a chip with L-Mul has no multiplier."""

import re
from collections import Counter
from typing import Any

import pytest
from amaranth.back import rtlil

from setun.firmware.config import ChipConfig
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import Numerics
from setun.hw.alternatives.products import cells
from setun.hw.arith import CodeDivider, FloatMultiplier, LMul, WholeLMulSquare, WholeSquare
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


def chip(multiplier: str) -> Chip:
    numerics = Numerics(multiplier=multiplier)
    return Chip(ChipConfig(columns=8, rows=8, lanes=2, contexts=2, numerics=numerics))


def test_products_are_counted() -> None:
    assert products(FloatMultiplier(Format())).total() == 1
    assert products(WholeSquare(12)).total() == 1
    assert products(WholeLMulSquare(12)).total() == 0


@pytest.mark.slow
def test_a_chip_with_lmul_multiplies_nothing() -> None:
    exact, lmul = products(chip("exact")), products(chip("lmul"))
    # Per lane five in the quantiser (two products, code, two squares), five in the sink (scale,
    # three of the kernel and the sigmoid's) and a square; one in scale unit, sink, its statistic
    # and the sampler.
    assert exact.total() == 2 * (5 + 5 + 1) + 4
    assert lmul == Counter()


@pytest.mark.slow
def test_noise_of_a_chip_with_lmul_is_a_table() -> None:
    """Constants multiply in the RTLIL of both chips, but not numbers of more than an index."""
    for multiplier, count in (("exact", 1), ("lmul", 0)):
        text = rtlil.convert(chip(multiplier), name="top", emit_src=False)
        (noise,) = re.findall(r"^module \S*sampler\.noise\n.*?^end", text, flags=re.M | re.S)
        assert len(CELL.findall(noise)) == count


def test_units_without_multipliers_stay_so() -> None:
    """Synthesis finds no multiplication in additions."""
    for unit in (LMul(Format()), CodeDivider(Format()), WholeLMulSquare(12)):
        found = cells(unit, "ecp5")
        assert found["LUT4"] > 10 and "MULT18X18D" not in found
    assert cells(FloatMultiplier(Format()), "ecp5")["MULT18X18D"] == 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_chip_with_lmul_has_no_multiplier_blocks() -> None:
    assert "MULT18X18D" not in cells(chip("lmul"), "ecp5")
