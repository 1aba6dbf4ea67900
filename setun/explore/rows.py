"""The table: a row for each point, what was estimated and what was measured."""

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from setun.boards import Board
from setun.estimate.best import settings
from setun.explore.pareto import Costs, front
from setun.explore.space import OWN, Point
from setun.firmware.numerics.options import Numerics

OPEN, REFUSED, FAILED, ESTIMATED, PLACED, MISSED = (
    "open",
    "refused",
    "failed",
    "estimated",
    "placed",
    "missed",
)
LOSS_DIGITS = 3
STATUSES = (PLACED, MISSED, ESTIMATED, REFUSED, FAILED, OPEN)


@dataclass
class Row:
    """One point.

    Members
    -------
    status
        "placed": timing met; "missed": placed, its clock not reached; "estimated"; "refused" by the
        configuration, the board or a tool; "failed": a tool took too long or was killed, a worker
        died; "open": not done yet.
    reason
        Why it was refused, failed or missed.
    seed
        Of the placement; None for a chip that was not to be placed.
    estimated, measured
        As `Estimate.to_dict` and `report.json` have it.
    cycles
        Measured cycles per token; None if they were not.
    loss
        Of its numerics, nats a token; None without a text.
    front
        Whether no other row is better in one figure and as good in the others.
    """

    point: Point
    status: str
    reason: str = ""
    seed: int | None = None
    estimated: dict[str, Any] | None = None
    measured: dict[str, Any] | None = None
    cycles: float | None = None
    loss: float | None = None
    front: bool = field(default=False, compare=False)

    @property
    def cycles_per_token(self) -> float | None:
        """Measured, else estimated."""
        if self.cycles is not None or self.estimated is None:
            return self.cycles
        return float(self.estimated["cycles_per_token"])

    @property
    def tokens_per_second(self) -> float | None:
        """Rate at the clock asked for, of all streams together; None where it is not reached."""
        if self.status not in (PLACED, ESTIMATED) or self.cycles_per_token is None:
            return None
        return self.point.clock_mhz * 1e6 / self.cycles_per_token

    @property
    def luts(self) -> int | None:
        """LUT4, or an iCE40's cells: measured, else estimated."""
        return luts(self.measured) or luts(self.estimated)

    @property
    def costs(self) -> Costs | None:
        """What a front is taken of, smaller is better; None where there is nothing to compare.

        Losses nearer than a thousandth of a nat are not told apart: so many tokens do not.
        """
        if self.tokens_per_second is None or self.luts is None:
            return None
        return (-self.tokens_per_second, float(self.luts), round(self.loss or 0.0, LOSS_DIGITS))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready contents."""
        told: dict[str, Any] = {
            "status": self.status,
            "reason": self.reason,
            "front": self.front,
            "options": self.point.chosen,
            "numerics": self.point.numerics,
            "clock_mhz": self.point.clock_mhz,
            "seed": self.seed,
        }
        if self.status in (REFUSED, OPEN) and self.estimated is None:
            return told
        return told | {
            "tokens_per_second": self.tokens_per_second,
            "luts": self.luts,
            "loss": self.loss,
            "estimated": self.estimated,
            "measured": self.measured,
            "measured_cycles_per_token": self.cycles,
            "config": self.point.config and self.point.config.to_dict(),
        }


def luts(found: dict[str, Any] | None) -> int | None:
    """LUT4, or an iCE40's cells, of an estimate or a report."""
    used = (found or {}).get("utilisation", {})
    return int(used["luts"][0]) if "luts" in used else None


def build_command(row: Row, board: Board, model: str, asked: Iterable[str]) -> str:
    """The command line that builds a row's chip; "" where there is none.

    Parameters
    ----------
    asked
        Options of the chip that were set or varied.
    """
    config = row.point.config
    if config is None:
        return ""
    words = ["setun", "build", "--board", board.name, "--model", model]
    words += ["--clock", f"{row.point.clock_mhz:g}"]
    if row.seed is not None:
        words += ["--seed", str(row.seed)]
    own = row.point.numerics == OWN
    if not own:
        words += ["--numerics", row.point.numerics]
    words += settings(config, board)
    values = config.to_dict()
    for name in sorted(asked):
        if (
            name in values
            and f"--set {name}=" not in " ".join(words)
            and (own or name not in Numerics.__dataclass_fields__)
        ):
            words += ["--set", f"{name}={json.dumps(values[name])}"]
    return shlex.join([*words, "-o", "out"])


def mark_front(rows: Sequence[Row]) -> None:
    """Set `Row.front` of all rows."""
    for group in groups(rows):
        found = set(front([row.costs or () for row in group]))
        for k, row in enumerate(group):
            row.front = k in found


def groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows that can be compared: without a loss nothing tells numerics apart but what they cost."""
    comparable = [row for row in rows if row.costs is not None]
    if all(row.loss is not None for row in comparable):
        return [comparable] if comparable else []
    names = dict.fromkeys(row.point.numerics for row in comparable)
    return [[row for row in comparable if row.point.numerics == name] for name in names]
