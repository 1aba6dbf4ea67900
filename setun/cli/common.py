"""What every verb shares: `--json`, output, progress."""

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from setun.firmware.errors import SetunError
from setun.firmware.outputs import check_output, is_standard_output

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """Add `--json`, passed to the command as `as_json: bool`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON value on stdout, nothing else."
    )(command)


def port_options(command: F) -> F:
    """Add `--port` and `--baud`, both None when not given: see `setun.talk.ports`."""
    command = click.option(
        "--baud",
        type=int,
        metavar="RATE",
        callback=_checked_baud,
        help="Its bit rate; default those of the boards.",
    )(command)
    return click.option(
        "--port",
        metavar="PORT",
        callback=_checked_port,
        help="Serial port; a URL: rfc2217://HOST:PORT; axi[:DEVICE[@OFFSET]], a chip's mailbox; "
        "default the board on USB.",
    )(command)


def _checked_baud(
    context: click.Context, parameter: click.Parameter, baud: int | None
) -> int | None:
    from setun.firmware.link.baud import check_baud

    if baud is not None:
        check_baud(baud)
    return baud


def _checked_port(
    context: click.Context, parameter: click.Parameter, port: str | None
) -> str | None:
    if port is not None and not port.strip():
        raise SetunError("--port", "must name a serial port", json.dumps(port))
    return port


def _plain(value: object) -> object:
    item = getattr(value, "item", None)
    return item() if callable(item) else str(value)


def check_written(output: Path, as_json: bool) -> None:
    """Refuse a file that cannot be written, before long work, and one that is stdout with JSON."""
    if as_json and is_standard_output(output):
        raise SetunError(f"-o {output}", "must not be stdout with --json", fix="name a file")
    check_output(output)


def emit(
    value: object, as_json: bool, text: str | Callable[[], str], output: Path | None = None
) -> None:
    """Print the result of a verb: `value` as JSON, or `text` for people.

    Text goes to stderr where `output`, what the verb has written, is stdout. NumPy scalars become
    numbers and paths become strings; NaN and infinity, which JSON cannot hold, raise SetunError.
    """
    if not as_json:
        aside = output is not None and is_standard_output(output)
        click.echo(text if isinstance(text, str) else text(), err=aside)
        return
    try:
        line = json.dumps(value, default=_plain, allow_nan=False)
    except ValueError as error:
        raise SetunError("result", "must be finite to be JSON", error) from error
    click.echo(line)


def table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """Rows as left-aligned text columns under a heading, two blanks between columns.

    Where that is wider than the terminal, each row is a paragraph instead: its first cell, and
    below it what the others hold, those that are empty left out.
    """
    cells = [list(columns), *([str(row.get(name, "")) for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    width = shutil.get_terminal_size((0, 0)).columns  # 0: neither a terminal nor COLUMNS
    if width and sum(widths) + 2 * (len(widths) - 1) > width:
        return "\n".join(_paragraph(columns, line, width) for line in cells[1:])
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _paragraph(columns: Sequence[str], line: Sequence[str], width: int) -> str:
    pairs = zip(columns[1:], line[1:], strict=True)
    text = ", ".join(f"{name} {cell}".strip() for name, cell in pairs if cell)
    wrapped = textwrap.wrap(
        text, max(width, 20), initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
    )
    return "\n".join([line[0] or columns[0], *wrapped])


def watched() -> bool:
    """Whether a person watches stderr; progress is drawn only then."""
    return sys.stderr.isatty()


@contextmanager
def stages() -> Iterator[Callable[[str], None]]:
    """Yield a function to call with the name of the stage that starts now.

    On a terminal the stage is shown on stderr with its elapsed time; elsewhere nothing is.
    """
    if not watched():
        yield lambda name: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:

        def close() -> None:
            for task in progress.tasks:
                if not task.finished:
                    progress.update(task.id, total=1, completed=1)

        def start(name: str) -> None:
            close()
            progress.add_task(name, total=None)

        yield start
        close()


@contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of steps done since the last call.

    On a terminal a bar with the time left is drawn on stderr; elsewhere nothing is.
    """
    if not watched():
        yield lambda steps: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as progress:
        task = progress.add_task(title, total=total)
        yield lambda steps: progress.update(task, advance=steps)
