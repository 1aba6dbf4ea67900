"""Plots of an exploration as SVG text."""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

from setun.drawing import pyplot
from setun.explore.rows import ESTIMATED, MISSED, PLACED, Row, luts

SIZE = (7.5, 4.6)  # inches
GREY = "0.7"


def _svg(figures: Any, figure: Any) -> str:
    """The figure's text, without what a file has around it."""
    figure.tight_layout()
    text = io.StringIO()
    try:
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    finally:
        figures.close(figure)
    inner = text.getvalue()
    inner = inner[inner.index("<svg") :]
    return re.sub(r"\s*<metadata>.*?</metadata>", "", inner, flags=re.DOTALL)


def _speed(row: Row) -> float:
    return row.tokens_per_second or 0.0


def _estimated_speed(row: Row) -> float:
    cycles = (row.estimated or {}).get("cycles_per_token")
    return row.point.clock_mhz * 1e6 / cycles if cycles else 0.0


def _points(axes: Any, rows: Sequence[Row], x: Callable[[Row], float | None]) -> None:
    """Estimated, placed, missed, each with its mark; a placement is joined to its estimate."""

    def plot(chosen: Sequence[Row], speed: Callable[[Row], float], mark: str, **how: Any) -> None:
        if chosen:
            axes.plot([x(row) for row in chosen], [speed(row) for row in chosen], mark, **how)

    kinds = {
        kind: [row for row in rows if row.status == kind] for kind in (ESTIMATED, PLACED, MISSED)
    }
    plot(kinds[ESTIMATED], _speed, ".", color=GREY, label="estimated", markersize=4)
    plot(kinds[PLACED], _speed, "o", color="C0", label="placed, timing met")
    plot(kinds[MISSED], _estimated_speed, "x", color="C3", label="placed, clock missed")
    # No line: with a loss the front is a surface.
    plot([row for row in rows if row.front], _speed, "k.", label="front", markersize=6)


def _finish(axes: Any, label: str) -> None:
    from matplotlib.ticker import LogFormatter

    axes.set(yscale="log", xlabel=label, ylabel="tokens/s, all streams")
    axes.yaxis.set_major_formatter(LogFormatter())
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.6)))
    axes.grid(alpha=0.3, which="both")
    axes.legend()


def against_luts(rows: Sequence[Row], label: str) -> str:
    """Tokens/s against LUTs; an empty circle is what was estimated of a placement."""
    figures = pyplot()
    figure, axes = figures.subplots(figsize=SIZE)
    _points(axes, rows, lambda row: row.luts)
    for row in rows:
        if row.measured is not None:
            guess = luts(row.estimated)
            axes.plot(
                [guess, row.luts],
                [_estimated_speed(row), _speed(row) or _estimated_speed(row)],
                "-",
                color="C0",
                linewidth=0.7,
            )
            axes.plot([guess], [_estimated_speed(row)], "o", color="C0", fillstyle="none")
    _finish(axes, label)
    return _svg(figures, figure)


def against_loss(rows: Sequence[Row], real: float | None) -> str:
    """Tokens/s against loss: that of the float model is a line."""
    figures = pyplot()
    figure, axes = figures.subplots(figsize=SIZE)
    known = [row for row in rows if row.loss is not None]
    _points(axes, known, lambda row: row.loss)
    if real is not None:
        axes.axvline(real, color="C2", linestyle="--", linewidth=1, label="float model")
    _finish(axes, "loss, nats a token")
    return _svg(figures, figure)
