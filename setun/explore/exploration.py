"""One exploration: all chips estimated, the best few placed and routed, every figure kept."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from math import log
from typing import Any

from setun.boards import Board
from setun.estimate.best import ALIKE
from setun.explore.pareto import spread
from setun.explore.results import Results
from setun.explore.rows import (
    ESTIMATED,
    FAILED,
    MISSED,
    OPEN,
    PLACED,
    REFUSED,
    Row,
    groups,
    mark_front,
)
from setun.explore.run import Workers
from setun.explore.space import Point, Space, at_clock, reason
from setun.explore.work import Work
from setun.firmware.errors import SetunError
from setun.firmware.numerics.options import Numerics

TOGETHER = 16  # estimates a task: one takes 50 ms
Bar = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is asked for beside the space.

    Parameters
    ----------
    best
        Chips to place and route; 0 for none.
    cycles
        Whether their cycles per token are measured on the compiled chip.
    text
        Name of the text that losses are measured on, a hash of its tokens; "" for none.
    """

    best: int
    cycles: bool = False
    text: str = ""


@dataclass
class Exploration:
    """All that is known of a space at any time; `run` finds the rest.

    Parameters
    ----------
    image_name
        Hash of the model's image.
    bar
        Makes a progress bar, as `setun.cli.common.bar` does.
    keep
        Called when a placement is finished.
    """

    board: Board
    space: Space
    points: list[Point]
    image_name: str
    wish: Wish
    results: Results
    workers: Workers
    bar: Bar
    keep: Callable[[], None] = lambda: None
    _made: dict[str, dict[str, Any]] = field(default_factory=dict)

    def run(self) -> None:
        """Estimate, choose, place and route; what is there already is not done again.

        Raises
        ------
        SetunError
            See `Workers.run`.
        """
        self._do("estimate", self._estimates(self.points), TOGETHER)
        if self.wish.text:
            self._do("loss", self._losses())
        placements = self.placements()
        self._do("estimate", self._estimates([p for p, _ in placements]), TOGETHER)
        works = [self._place(p, seed) for p, seed in placements if p.config is not None]
        self._do("place and route", works)
        if self.wish.cycles:
            chips = {p.config: p for p, _ in placements}.values()
            self._do("measure cycles", [self._cycles(p) for p in chips if p.config is not None])

    def _do(self, title: str, works: Sequence[Work], together: int = 1) -> None:
        unique = {work.key: work for work in works}.values()
        missing = [work for work in unique if self._known(work) is None]
        with self.bar(title, len(missing)) as step:
            for work, done in self.workers.run(missing, together):
                self.results.put(work, done)
                step(1)
                if work.kind == "place":
                    self.keep()

    def _known(self, work: Work) -> dict[str, Any] | None:
        """What is kept; given up under a lower limit is not known under a higher one."""
        found = self.results.get(work)
        if found and found.get("limit_s", self.workers.limit_s) < self.workers.limit_s:
            return None
        return found

    def _with(self, kind: str) -> dict[str, Any]:
        if kind not in self._made:
            self._made[kind] = self.workers.made_with(kind)
        return self._made[kind]

    def _of_chip(self, kind: str, point: Point, **others: Any) -> Work:
        if point.config is None:
            raise TypeError("a point that was refused has no chip")
        return Work(
            kind,
            {
                "made_with": self._with(kind),
                "model": self.image_name,
                "board": self.board.name,
                "fpga": self.board.family,
                "config": point.config.to_dict(),
                **others,
            },
        )

    def _estimates(self, found: Sequence[Point]) -> list[Work]:
        return [self._of_chip("estimate", p) for p in found if p.config is not None]

    def _place(self, point: Point, seed: int) -> Work:
        return self._of_chip("place", point, clock_mhz=point.clock_mhz, seed=seed)

    def _cycles(self, point: Point) -> Work:
        return self._of_chip("cycles", point)

    def _loss(self, numerics: Numerics | None) -> Work:
        return Work(
            "loss",
            {
                "made_with": self._with("loss"),
                "model": self.image_name,
                "text": self.wish.text,
                "numerics": None if numerics is None else numerics.to_dict(),
            },
        )

    def _losses(self) -> list[Work]:
        """Losses of each numerics; first that of the float model."""
        return [self._loss(each) for each in (None, *self.space.numerics.values())]

    def float_loss(self) -> float | None:
        """Loss of the float model, nats a token; None if it is not known."""
        return self._found_loss(None) if self.wish.text else None

    def _found_loss(self, numerics: Numerics | None) -> float | None:
        found = self._known(self._loss(numerics)) if self.wish.text else None
        return None if found is None else float(found["loss"])

    def _estimated(self, point: Point) -> Row:
        if point.config is None:
            return Row(point, REFUSED, point.refused)
        found = self._known(self._of_chip("estimate", point))
        if found is None:
            return Row(point, OPEN)
        if why := found.get("refused"):
            return Row(point, REFUSED, str(why))
        loss = self._found_loss(self.space.numerics[point.numerics])
        return Row(point, ESTIMATED, estimated=found, loss=loss)

    def chosen(self) -> list[Point]:
        """The chips to place: of the estimates' front, from the fastest to the smallest.

        A chip that is not faster than a smaller one by more than the estimate tells apart is left
        out. Without a text, so many of each numerics; none before all are estimated.
        """
        rows = [self._estimated(point) for point in self.points]
        if not self.wish.best or any(row.status == OPEN for row in rows):
            return []
        mark_front(rows)
        found: list[Point] = []
        for group in groups(rows):
            steps = sorted(ladder([row for row in group if row.front]), key=_speed)
            places = spread([log(_speed(row)) for row in steps], self.wish.best)
            found += [steps[k].point for k in reversed(places)]
        return found

    def placements(self) -> list[tuple[Point, int]]:
        """Chips at each clock with each seed: all chips with a seed before the next seed.

        So a netlist that two of them share has been made when the second one asks for it.
        """
        chips = self.chosen()
        at = [_at(p, mhz, self.board) for mhz in self.space.clocks_mhz for p in chips]
        return [(point, seed) for seed in self.space.seeds for point in at]

    def _placed(self, point: Point, seed: int) -> Row:
        row = replace(self._estimated(point), seed=seed)
        if row.status != ESTIMATED:
            return row
        # Before it is known what would place it there is nothing to look for.
        found = self._known(self._place(point, seed)) if "place" in self._made else None
        if found is None:
            return replace(row, status=OPEN)
        for status in (REFUSED, FAILED):
            if status in found:
                return replace(row, status=status, reason=found[status])
        cycles = self._known(self._cycles(point)) if self.wish.cycles else None
        measured = None if cycles is None else float(cycles["cycles_per_token"])
        row = replace(row, status=PLACED, measured=found, cycles=measured)
        if found["timing_met"]:
            return row
        return replace(
            row, status=MISSED, reason=f"{found['fmax_mhz']:g} of {point.clock_mhz:g} MHz"
        )

    def rows(self) -> list[Row]:
        """Every point as it is known now: what is to be placed first, then the others in order."""
        placements = self.placements()
        named = {id(p) for p in self.chosen()}
        rows = [self._placed(point, seed) for point, seed in placements]
        rows += [self._estimated(point) for point in self.points if id(point) not in named]
        mark_front(rows)
        return rows


def _speed(row: Row) -> float:
    return row.tokens_per_second or 0.0


def ladder(rows: Sequence[Row]) -> Iterator[Row]:
    """Rows of a front from the smallest on, each clearly faster than the last of its numerics."""
    last: dict[str, float] = {}
    for row in sorted(rows, key=lambda row: (row.luts or 0, _speed(row))):
        name = row.point.numerics
        if _speed(row) > last.get(name, 0.0) * ALIKE:
            last[name] = _speed(row)
            yield row


def _at(point: Point, clock_mhz: float, board: Board) -> Point:
    if point.config is None or clock_mhz == point.clock_mhz:
        return point
    try:
        config = at_clock(point.config, clock_mhz, board)
    except SetunError as error:
        return replace(point, clock_mhz=clock_mhz, config=None, refused=reason(error))
    return replace(point, clock_mhz=clock_mhz, config=config)
