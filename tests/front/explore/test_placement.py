"""Place and route as a worker does it: refusals, limits, and a whole chip (slow)."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from setun import boards
from setun.cli import cli
from setun.cli.common import bar
from setun.explore import evaluation
from setun.explore.evaluation import Done, evaluate
from setun.explore.exploration import Exploration, Wish
from setun.explore.results import Results
from setun.explore.rows import MISSED, OPEN, PLACED, REFUSED
from setun.explore.run import Workers
from setun.explore.space import Space, points
from setun.explore.work import Work, made_with
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.memory_layout import sized_for
from setun.hw.fpga.flow.process import Children, Ended, TookTooLong
from setun.models.load import load_model

BOARD, MODEL = "ulx3s-25f", "random-64x1"
OPTIONS: dict[str, Any] = {"columns": 8, "rows": 1, "lanes": 1, "packing": "1.6b", "terminal": 0}


def place_work(**changes: Any) -> Work:
    config = sized_for(load_model(MODEL), ChipConfig(**OPTIONS)).override(**changes)
    return Work(
        "place",
        {
            "made_with": made_with("place", "ecp5"),
            "board": BOARD,
            "fpga": "ecp5",
            "config": config.to_dict(),
            "clock_mhz": 50.0,
            "seed": 1,
        },
    )


def test_a_chip_beyond_the_fpga_is_refused() -> None:
    (done,) = evaluate([place_work(weight_words=60_000)], load_model(MODEL), None, 60.0)
    assert "of 56" in done.result["refused"] and done.final


def test_a_tool_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept, and tried again only under a higher limit."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (done,) = evaluate([place_work()], load_model(MODEL), None, 0.3)
    assert done.result == {"failed": "yosys: must end within 0.3 s", "limit_s": 0.3} and done.final


@pytest.mark.parametrize(
    ("error", "result", "final"),
    [
        (TookTooLong("a", "b"), {"failed": "a: b", "limit_s": 5.0}, True),
        (Ended("a", "b", "c"), {"refused": "a: b; found c"}, True),
        (SetunError("a", "b"), {"refused": "a: b"}, True),
    ],
)
def test_what_is_kept_of_a_failure(error: SetunError, result: dict[str, Any], final: bool) -> None:
    assert evaluation._refusal(error, 5.0) == (result, final)


def test_a_tool_that_was_killed_is_tried_again(tmp_path: Path) -> None:
    """Memory ran out, or somebody ended it: the chip is not to blame."""
    with Children() as children, pytest.raises(Ended) as caught:
        children.run("sh", ["sh", "-c", "kill -9 $$"], cwd=tmp_path, log=tmp_path / "log")
    assert caught.value.status == -9
    assert evaluation._refusal(caught.value, 5.0)[1] is False


class Told(Workers):
    """Workers that answer from a table, for what is chosen and how it is shown."""

    def __init__(self, answers: dict[str, Any], limit_s: float = 60.0) -> None:
        super().__init__(None, 1, load_model(MODEL), "ecp5", limit_s=limit_s)
        self.answers, self.asked = answers, list[Work]()

    def run(self, works: Any, together: int = 1) -> Any:
        for work in works:
            if work.kind == "place":
                self.asked.append(work)
                yield work, Done(self.answers[work.inputs["seed"]], 0.0)
            else:
                yield work, evaluate([work], self.image, None, 60.0)[0]


def exploration(folder: Path, workers: Told, **changes: Any) -> Exploration:
    board, image = boards.get(BOARD), load_model(MODEL)
    base = ChipConfig.from_dict({**ChipConfig().to_dict(), **OPTIONS, "baud": board.baud})
    space = Space(
        base=base,
        options={"columns": (8, 16), "rows": (1, 2)},
        fixed=frozenset(),
        numerics={"default": base.numerics},
        clocks_mhz=changes.pop("clocks", (50.0,)),
        seeds=(1, 2),
    )
    return Exploration(
        board=board,
        space=space,
        points=list(points(space, image, board)),
        image_name="it",
        wish=Wish(best=2),
        results=Results(folder),
        workers=workers,
        bar=bar,
    )


def test_placements_are_of_the_front_at_each_clock_and_seed(tmp_path: Path) -> None:
    used = {"luts": [5000, 24288]}
    workers = Told(
        {
            1: {"fmax_mhz": 60.5, "timing_met": True, "utilisation": used},
            2: {"fmax_mhz": 41.5, "timing_met": False, "utilisation": used},
        }
    )
    found = exploration(tmp_path, workers, clocks=(50.0, 60.0, 52.7))
    assert [row.status for row in found.rows()] == [OPEN] * 4
    found.run()
    asked = [(w.inputs["clock_mhz"], w.inputs["seed"]) for w in workers.asked]
    assert asked == [(50.0, 1)] * 2 + [(60.0, 1)] * 2 + [(50.0, 2)] * 2 + [(60.0, 2)] * 2
    macs = [w.inputs["config"]["columns"] * w.inputs["config"]["rows"] for w in workers.asked]
    assert macs == [16 * 2, 8 * 1] * 4  # the fastest, and the smallest
    assert [w.inputs["config"]["clock_hz"] for w in workers.asked[2:4]] == [60_000_000] * 2
    rows = found.rows()
    placed = [row for row in rows if row.seed is not None]
    assert [r.status for r in placed] == [PLACED] * 4 + [REFUSED] * 2 + [MISSED] * 4 + [REFUSED] * 2
    assert [r.reason for r in placed[6:8]] == ["41.5 of 50 MHz"] * 2
    assert all(row.tokens_per_second is None and not row.front for row in placed[4:])
    assert placed[2].tokens_per_second == pytest.approx(
        60e6 / placed[2].estimated["cycles_per_token"]  # type: ignore[index]
    )
    assert len(rows) == len(placed) + 2 and placed[0].luts == 5000
    again = Told({})
    assert exploration(tmp_path, again, clocks=(50.0, 60.0, 52.7)).run() is None
    assert again.asked == []


def test_what_was_given_up_is_tried_again_with_more_time(tmp_path: Path) -> None:
    given_up = {"failed": "nextpnr: must end within 60 s", "limit_s": 60.0}
    exploration(tmp_path, Told({1: given_up, 2: given_up})).run()
    same = Told({})
    exploration(tmp_path, same).run()
    more = Told({1: given_up, 2: given_up}, limit_s=120.0)
    exploration(tmp_path, more).run()
    assert same.asked == [] and len(more.asked) == 4


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_whole_chip_is_placed_and_measured(tmp_path: Path) -> None:
    """A small one, with two seeds: what is told is what `setun build` reports."""
    words = [
        "explore",
        "--board",
        BOARD,
        "--model",
        MODEL,
        "--best",
        "1",
        "--seeds",
        "2",
        "--cycles",
        "-o",
        str(tmp_path / "out"),
        "--json",
    ]
    for name, value in (OPTIONS | {"contexts": 1, "pump": 1, "memory": "onchip"}).items():
        words += ["--set", f"{name}={value}"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, (result.stderr, result.exception)
    found = json.loads(result.stdout)
    assert found["counts"] == {"placed": 2}
    one, two = found["points"]
    assert (one["seed"], two["seed"]) == (1, 2)
    assert one["measured"]["fmax_mhz"] != two["measured"]["fmax_mhz"]
    assert one["luts"] == pytest.approx(one["estimated"]["utilisation"]["luts"][0], rel=0.1)
    assert one["measured_cycles_per_token"] == pytest.approx(
        one["estimated"]["cycles_per_token"], rel=0.03
    )
    assert one["tokens_per_second"] == pytest.approx(50e6 / one["measured_cycles_per_token"])
    args = [*one["build"].split()[1:-1], str(tmp_path / "built"), "--json"]
    built = CliRunner().invoke(cli, args)
    assert built.exit_code == 0, (built.stderr, built.exception)
    report = json.loads(built.stdout)
    for name in ("fmax_mhz", "timing_met", "utilisation"):
        assert report[name] == one["measured"][name]
    assert report["cycles_per_token"] == one["measured_cycles_per_token"]
    print(json.dumps(found["points"], indent=1))
