"""Losses of numerics on a text, and which chips that makes the best."""

from pathlib import Path

import numpy as np
import pytest

from front.explore.test_explore import told
from setun import boards
from setun.explore.exploration import ladder
from setun.explore.rows import ESTIMATED, Row, groups, mark_front
from setun.explore.space import Point
from setun.firmware.config import ChipConfig
from setun.firmware.numerics.options import PRESETS
from setun.models.load import open_model
from setun.sim.evaluate import score_float, score_golden, windows
from setun.sim.folded import FoldedModel
from setun.sim.texts import HELD_OUT, WINDOW

TOKENS = 60
TEXT = "ROMEO: what say you to the sea, and to all that is in it?\n" * 20


def test_losses_are_those_of_the_golden_model(tmp_path: Path) -> None:
    (tmp_path / "text").write_text(TEXT)
    found = told(
        "--board",
        "ulx3s-85f",
        "--estimate-only",
        "--jobs",
        "1",
        "-o",
        tmp_path / "out",
        "--text",
        tmp_path / "text",
        "--tokens",
        TOKENS,
        "--numerics",
        "default",
        "--numerics",
        "lmul",
        "--vary",
        "columns=16",
        "--vary",
        "rows=4",
        "--vary",
        "lanes=2",
        "--vary",
        "contexts=1",
        "--vary",
        "pump=1",
        "--set",
        "memory=onchip",
    )
    opened = open_model("shakespeare")
    ids = opened.tokenizer().encode(TEXT[int(HELD_OUT * len(TEXT)) :])
    rows, counted = windows(np.array(ids), WINDOW, TOKENS)
    losses = {
        name: score_golden(opened.image, PRESETS[name], rows, counted).loss
        for name in ("default", "lmul")
    }
    assert losses["default"] != losses["lmul"]
    assert {p["numerics"]: p["loss"] for p in found["points"]} == losses
    vocabulary = opened.image.vocab_size
    real = score_float(FoldedModel(opened.image), rows, counted, vocabulary)
    assert found["float_loss"] == pytest.approx(real.loss)
    page = (tmp_path / "out/report.html").read_text("utf-8")
    assert page.count("<svg") == 2
    for name in ("luts", "loss"):
        assert (tmp_path / f"out/{name}.svg").read_text("utf-8") in page


def row(luts: int, cycles: float, loss: float | None, numerics: str = "default") -> Row:
    config = ChipConfig()
    point = Point(chosen={}, numerics=numerics, clock_mhz=50.0, config=config)
    found = {
        "utilisation": {"luts": [luts, boards.get("ulx3s-85f").capacity["luts"]]},
        "cycles_per_token": cycles,
    }
    return Row(point, ESTIMATED, estimated=found, loss=loss)


def test_a_loss_is_one_more_figure_to_be_better_in() -> None:
    rows = [row(100, 10.0, 2.0), row(100, 10.0, 1.5, "lmul"), row(90, 20.0, 2.5, "fp8")]
    mark_front(rows)
    assert [r.front for r in rows] == [False, True, True]


def test_losses_that_are_not_told_apart_do_not_compete() -> None:
    rows = [row(100, 10.0, 1.3562), row(120, 10.0, 1.35615, "lmul"), row(120, 10.0, 1.354, "fp8")]
    mark_front(rows)
    assert [r.front for r in rows] == [True, False, True]
    assert rows[1].to_dict()["loss"] == 1.35615


def test_without_a_loss_numerics_do_not_compete() -> None:
    rows = [row(100, 10.0, None), row(120, 11.0, None, "lmul"), row(130, 12.0, None)]
    assert [len(group) for group in groups(rows)] == [2, 1]
    mark_front(rows)
    assert [r.front for r in rows] == [True, True, False]


def test_a_ladder_has_no_steps_that_the_estimate_cannot_tell_apart() -> None:
    rows = [
        row(100, 1000.0, None),
        row(110, 980.0, None),
        row(120, 900.0, None),
        row(130, 980.0, None, "lmul"),
    ]
    assert list(ladder(rows)) == [rows[0], rows[2], rows[3]]
