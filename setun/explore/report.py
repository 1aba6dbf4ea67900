"""An exploration as one HTML file: plots, what was refused and why, every point."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from setun.boards import Board
from setun.explore.plots import against_loss, against_luts
from setun.explore.rows import REFUSED, STATUSES, Row, luts

STYLE = """
body { font: 15px/1.4 sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { padding: .15em .7em .15em 0; text-align: left; white-space: nowrap; }
th { border-bottom: 1px solid; position: sticky; top: 0; background: #fff; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
tr.front { font-weight: bold; }
tr.refused, tr.open { color: #777; }
svg { max-width: 100%; height: auto; }
code { font-size: 85%; white-space: normal; }
"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """Points by status."""
    found = Counter(row.status for row in rows)
    return {status: found[status] for status in STATUSES if found[status]}


def refusals(rows: Sequence[Row]) -> dict[str, int]:
    """Points by what they were refused for, most first."""
    found = Counter(row.reason for row in rows if row.status == REFUSED)
    return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def both(estimated: float | None, measured: float | None, form: str = ",.0f") -> str:
    """What was measured, and by how much the estimate was off; else the estimate after a tilde."""
    if measured is not None:
        off = f" ({estimated / measured - 1:+.1%})" if estimated else ""
        return f"{measured:{form}}{off}"
    return "" if estimated is None else f"~{estimated:{form}}"


def many(count: int, thing: str) -> str:
    """A number with its word, as in 1 lane, 2,000 lanes."""
    return f"{count:,} {thing}" + "s" * (count != 1)


def cells(row: Row) -> dict[str, str]:
    """What the tables show of a point, by column."""
    c, options = row.point.config, row.point.chosen
    shown = {
        "status": row.status,
        "clock": f"{row.point.clock_mhz:g}",
        "seed": "" if row.seed is None else str(row.seed),
        "numerics": row.point.numerics,
    }
    if c is None:
        named = ", ".join(f"{name} {value}" for name, value in options.items())
        return {**shown, "chip": named, "reason": row.reason}
    chip = f"{c.columns} x {c.rows}" + (f" pump {c.pump}" if c.pump > 1 else "")
    seats = [many(c.lanes, "lane"), many(c.contexts, "context")]
    shown["chip"] = ", ".join([chip, *seats, c.packing, c.memory])
    estimated, measured = row.estimated or {}, row.measured or {}
    tokens = row.tokens_per_second
    return {
        **shown,
        "LUTs": both(luts(row.estimated), luts(row.measured)),
        "Fmax": f"{measured['fmax_mhz']:.1f}" if measured else "",
        "cycles/token": both(estimated.get("cycles_per_token"), row.cycles),
        "tokens/s": "" if tokens is None else f"{tokens:,.0f}",
        "loss": "" if row.loss is None else f"{row.loss:.4f}",
        "reason": row.reason,
    }


PLOTS = ("luts", "loss")
COLUMNS = (
    "status",
    "chip",
    "numerics",
    "clock",
    "seed",
    "LUTs",
    "Fmax",
    "cycles/token",
    "tokens/s",
    "loss",
    "reason",
)
NUMBERS = {"clock", "seed", "LUTs", "Fmax", "cycles/token", "tokens/s", "loss"}


def columns(rows: Sequence[Row]) -> list[str]:
    """Columns in which there is something to show."""
    shown = [cells(row) for row in rows]
    return [name for name in COLUMNS if any(each.get(name) for each in shown)]


def _table(rows: Sequence[Row], names: Sequence[str]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = [f"<table>\n<tr>{head}</tr>"]
    for row in rows:
        shown = cells(row)
        kind = f"{row.status} front" if row.front else row.status
        data = "".join(
            f'<td class="number">{escape(shown.get(name, ""))}</td>'
            if name in NUMBERS
            else f"<td>{escape(shown.get(name, ''))}</td>"
            for name in names
        )
        lines.append(f'<tr class="{kind}">{data}</tr>')
    return "\n".join([*lines, "</table>"])


def plots(rows: Sequence[Row], board: Board, real: float | None) -> dict[str, str]:
    """SVGs of points that there are figures of, by what tokens/s are drawn against.

    Parameters
    ----------
    real
        Loss of the float model, None without a text.

    Raises
    ------
    SetunError
        matplotlib is not installed.
    """
    drawn = {}
    if any(row.front for row in rows):
        drawn["luts"] = against_luts(rows, board.fpga.called("luts"))
        if any(row.loss is not None for row in rows):
            drawn["loss"] = against_loss(rows, real)
    return drawn


def html(
    title: str, rows: Sequence[Row], drawn: Mapping[str, str], build: Callable[[Row], str]
) -> str:
    """The report; equal rows give equal text. No script, nothing from elsewhere.

    Parameters
    ----------
    drawn
        The `plots`.
    build
        Command line that builds a row's chip.
    """
    told = ", ".join(f"{n:,} {status}" for status, n in counts(rows).items())
    front = [row for row in rows if row.front]
    front.sort(key=lambda row: row.costs or ())
    body = [f"<h1>{escape(title)}</h1>", f"<p>{many(len(rows), 'point')}: {told}.</p>"]
    if front:
        body += [
            *drawn.values(),
            "<h2>The front</h2>",
            "<p>No other point is better in one figure and as good in the others. A figure after "
            "a tilde is estimated, one in brackets tells by how much the estimate was off.</p>",
            _table(front, columns(front)),
            "<p>",
            "<br>".join(f"<code>{escape(build(row))}</code>" for row in front),
            "</p>",
        ]
    if refused := refusals(rows):
        lines = "".join(
            f'<tr><td class="number">{n:,}</td><td>{escape(why)}</td></tr>\n'
            for why, n in refused.items()
        )
        body += ["<h2>Refused</h2>", f"<table>\n{lines}</table>"]
    body += ["<h2>Every point</h2>", _table(rows, columns(rows))]
    return PAGE.format(title=escape(title), style=STYLE, body="\n".join(body))


def to_dict(rows: Sequence[Row], build: Callable[[Row], str]) -> dict[str, Any]:
    """Rows as `--json` prints them, with their number by status and by reason of refusal."""
    found = [
        row.to_dict() | ({"build": build(row)} if row.estimated is not None else {}) for row in rows
    ]
    return {"counts": counts(rows), "refused": refusals(rows), "points": found}
