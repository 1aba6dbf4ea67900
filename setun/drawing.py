"""Plots by matplotlib: the same figures give the same file."""

import io
from pathlib import Path
from typing import Any

from setun.firmware.errors import SetunError
from setun.firmware.outputs import write_output


def pyplot() -> Any:
    """matplotlib, set up so that the same figures give the same file.

    Raises
    ------
    SetunError
        matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise SetunError(
            "matplotlib", "is needed for plots", error, "pip install 'setun[plot]'"
        ) from None
    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "setun"
    from matplotlib import pyplot as module

    return module


def save(drawing: Any, file: Path) -> None:
    """Write a matplotlib figure.

    Raises
    ------
    SetunError
        The file cannot be written, or its name ends in no format of matplotlib's.
    """
    drawing.tight_layout()
    drawn = io.BytesIO()
    kind = file.suffix.removeprefix(".") or "svg"
    try:
        drawing.savefig(drawn, format=kind, metadata={"Date": None} if kind == "svg" else None)
    except ValueError as error:
        raise SetunError(f"plot {file}", "must be an SVG or PNG file", error) from None
    write_output(file, drawn.getvalue())
