"""What programs behind `python -m` share: options, tables on stdout, steps on stderr, refusals.

Imports nothing but errors, so that every part of the package may use it.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from setun.firmware.errors import SetunError
from setun.streams import guard, settle, tell


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


def parser(description: str | None, plot: bool = False) -> argparse.ArgumentParser:
    """Options of a program, told by its module's docstring; `--plot FILE` where it may draw."""
    options = argparse.ArgumentParser(description=description)
    if plot:
        options.add_argument("--plot", type=Path, metavar="FILE", help="draw into an SVG file")
    return options


def run(main: Callable[[], None]) -> None:
    """Run a program: refused, one line on stderr and status 1; interrupted, one and status 130."""
    guard()
    status = 0
    try:
        main()
    except SystemExit as ended:  # of the options' parser
        status = ended.code if isinstance(ended.code, int) else 0
    except SetunError as error:
        tell(f"setun: error: {error}")
        status = 1
    except KeyboardInterrupt:
        tell("setun: error: interrupted")
        status = 130
    sys.exit(settle(status))
