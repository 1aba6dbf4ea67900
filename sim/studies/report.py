"""What the studies share: tables on stdout, progress on stderr, plots."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from setun.firmware.errors import SetunError


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A markdown table; figures come formatted, with `figure`."""
    return "\n".join(line(cells) for cells in [columns, ["---"] * len(columns), *rows])


def line(cells: Sequence[object]) -> str:
    """One line of a markdown table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def figure(x: float) -> str:
    """Two significant digits, as a plain decimal from 10^-4 on."""
    if x == 0.0:
        return "0"
    return f"{x:.1e}" if abs(x) < 1e-4 else f"{float(f'{x:.2g}'):g}"


def step(name: str) -> None:
    """Say on stderr what is computed now."""
    print(name, file=sys.stderr, flush=True)


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
    try:
        drawing.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    except (OSError, ValueError) as error:
        raise SetunError(f"plot {file}", "must be an SVG or PNG file", error) from None


def parser(description: str | None, plot: bool = False) -> argparse.ArgumentParser:
    """Options of a study: `--plot FILE` where it has one."""
    options = argparse.ArgumentParser(description=description)
    if plot:
        options.add_argument("--plot", type=Path, metavar="FILE", help="draw into an SVG file")
    return options


def run(main: Callable[[], None]) -> None:
    """Run a study as a program: a refusal is one line on stderr and exit status 1."""
    try:
        main()
    except SetunError as error:
        sys.exit(f"setun: error: {error}")
