"""Which points there are: none twice, none silently left out."""

from collections import Counter
from dataclasses import replace
from itertools import product

import pytest

from setun import boards
from setun.boards.building import usual_chip
from setun.estimate.best import free_space
from setun.estimate.cores import core_estimate
from setun.explore.space import Point, Space, clocks, name_of, points, varied_values
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import PRESETS, Numerics
from setun.models.load import load_model

OPTIONS = {"columns": (8, 64), "rows": (1, 8), "lanes": (1, 2, 8), "contexts": (1, 2)}


def space(board: str, model: str, **changes: object) -> tuple[Space, list[Point]]:
    target = boards.get(board)
    base = replace(usual_chip(target), **changes)  # type: ignore[arg-type]
    found = Space(
        base=base,
        options=OPTIONS if core_estimate(base).searched else {},
        fixed=frozenset(),
        numerics={"default": base.numerics},
        clocks_mhz=(target.chip_clock_mhz,),
        seeds=(1,),
    )
    return found, list(points(found, load_model(model), target))


def test_every_combination_once() -> None:
    _, found = space("ulx3s-25f", "random-64x1")
    chosen = [tuple(p.chosen.values()) for p in found]
    assert chosen == list(product(*OPTIONS.values()))
    assert all((p.config is None) == bool(p.refused) for p in found)
    why = Counter(p.refused for p in found)
    # One row, for either number of columns and of contexts.
    assert why["rows must be a multiple of the 8 lanes"] == 2 * 2
    assert why["rows must be a multiple of the 2 lanes"] == 2 * 2
    assert why[""] and any(reason.startswith("does not fit: ") for reason in why)


def test_chips_are_sized_for_the_model_unless_told() -> None:
    image = load_model("random-64x1")
    target = boards.get("ulx3s-85f")
    base = replace(usual_chip(target), weight_words=9)
    of = {
        "base": base,
        "options": {},
        "numerics": {"default": base.numerics},
        "clocks_mhz": (56.25,),
        "seeds": (1,),
    }
    (free,) = points(Space(fixed=frozenset(), **of), image, target)  # type: ignore[arg-type]
    assert free.config is not None and free.config.weight_words > 9
    (fixed,) = points(Space(fixed=frozenset({"weight_words"}), **of), image, target)  # type: ignore[arg-type]
    assert fixed.config is None and fixed.refused == "model must fit the chip"


def test_what_the_board_cannot() -> None:
    target, image = boards.get("ulx3s-25f"), load_model("random-64x1")
    base = usual_chip(target)
    of = {
        "base": base,
        "fixed": frozenset[str](),
        "numerics": {"default": base.numerics},
        "seeds": (1,),
    }
    asked = Space(options={"memory": ("axi4-64",)}, clocks_mhz=(50.0,), **of)  # type: ignore[arg-type]
    assert [p.refused for p in points(asked, image, target)] == [
        "memory must be onchip or one of ulx3s-25f"
    ]
    asked = Space(options={}, clocks_mhz=(52.7,), **of)  # type: ignore[arg-type]
    (found,) = points(asked, image, target)
    assert "clock" in found.refused or "PLL" in found.refused or "MHz" in found.refused


def test_a_small_chip_has_no_options() -> None:
    board = boards.get("icebreaker")
    base = usual_chip(board)
    assert free_space(base, board, ()) == {}
    found, (point,) = space("icebreaker", "shakespeare-small")
    assert point.config == found.base and not point.refused
    _, (large,) = space("icebreaker", "shakespeare")
    assert large.config is None and large.refused.startswith("does not fit: ")


def test_numerics_have_names() -> None:
    assert {name_of(each) for each in PRESETS.values()} == set(PRESETS)
    assert name_of(Numerics(vector=Format(6, 9))) == "usual"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50", (50,)),
        ("50,56.25,50", (50, 56.25)),
        ("50:60:5", (50, 55, 60)),
        ("20:21:0.5", (20, 20.5, 21)),
        ("1:1:1", (1,)),
    ],
)
def test_clocks(text: str, expected: tuple[float, ...]) -> None:
    assert clocks(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "x", "50:60", "60:50:1", "50:60:0", "0", "-1", "nan", "1:inf:1", "1:1000:1", "inf"],
)
def test_clocks_refused(text: str) -> None:
    with pytest.raises(SetunError, match=r"clock: must be"):
        clocks(text)


def test_varied_values() -> None:
    assert varied_values("rows=2,4") == ("rows", (2, 4))
    assert varied_values("rows=3") == ("rows", (3,))  # refused point by point, and counted
    assert varied_values("memory=onchip,qspi") == ("memory", ("onchip", "qspi"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rows", "must be KEY=VALUE,VALUE"),
        ("rows=", "must be KEY=VALUE"),
        ("rows=a", "option rows: must be a whole number"),
        ("memory=3", "option memory: must be text"),
        ("color=1", "option color: is not one"),
        ("clock_hz=5", "use --clock"),
        ("activation=fp8", "use --numerics"),
    ],
)
def test_varied_values_refused(text: str, words: str) -> None:
    with pytest.raises(SetunError, match=words):
        varied_values(text)


def test_the_default_space_is_that_of_the_best_chip() -> None:
    board = boards.get("ulx3s-85f")
    found = free_space(ChipConfig(), board, {"lanes"})
    assert "lanes" not in found and found["memory"] == ("onchip", "sdram-16", "qspi")
    assert {"columns", "rows", "contexts", "packing", "pump"} <= found.keys()
