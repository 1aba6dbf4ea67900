"""What builds of the boards' usual chips gave, commit by commit: `setun bench --history FILE`.

A file of JSON lines, one for each time that a board's chip was built anew: commit and its day, then
board, model, clock asked for and reached, streams, cycles per token, MACs, memory, LUTs and block
RAMs. The figures are those of `setun/estimate/boards.json`.
"""

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from setun.drawing import pyplot, save
from setun.firmware.errors import SetunError
from setun.firmware.outputs import write_output

FIELDS = (
    "board",
    "model",
    "clock_mhz",
    "fmax_mhz",
    "streams",
    "cycles_per_token",
    "macs",
    "memory",
)
CELLS = ("luts", "block_ram")
UNKNOWN = "unknown"
Line = dict[str, Any]


def read(file: Path) -> list[Line]:
    """Lines of a history; none where there is no file.

    Raises
    ------
    SetunError
        A line is no such line; the file cannot be read.
    """
    try:
        text = file.read_text("utf-8") if file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SetunError(str(file), "must be a history that can be read", error) from error
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found = json.loads(line)
            lines.append({key: found[key] for key in ("commit", "date", *FIELDS, *CELLS)})
        except (ValueError, KeyError, TypeError) as error:
            rule = "must be a line of a history"
            raise SetunError(f"{file}, line {number}", rule, error, "name another file") from None
    return lines


def here() -> tuple[str, str]:
    """Short hash and day of the commit that is checked out; "unknown" outside of a checkout.

    A package that is installed into some other project's folder is none.
    """
    told = [_git("ls-files", Path(__file__).name), _git("log", "-1", "--format=%h %cs")]
    if not all(told):
        return UNKNOWN, UNKNOWN
    commit, day = told[1].split()
    return commit, day


def _git(*arguments: str) -> str:
    """What git prints in this file's folder; "" where it fails."""
    folder = Path(__file__).parent
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def grown(
    lines: Sequence[Line], builds: Iterable[Mapping[str, Any]], commit: str, day: str
) -> list[Line]:
    """A history with a line for each of the `builds` that is not its board's latest."""
    latest = {line["board"]: _figures(line) for line in lines}
    found = list(lines)
    for build in sorted(builds, key=lambda build: str(build["board"])):
        used = {key: build["utilisation"][key][0] for key in CELLS}
        line = {"commit": commit, "date": day, **{key: build[key] for key in FIELDS}, **used}
        if latest.get(line["board"]) != _figures(line):
            found.append(line)
    return found


def _figures(line: Mapping[str, Any]) -> Line:
    return {key: line[key] for key in (*FIELDS, *CELLS)}


def write(file: Path, lines: Iterable[Line]) -> None:
    """Write a history, whole or not at all."""
    write_output(file, "".join(json.dumps(line) + "\n" for line in lines).encode())


def tokens(line: Mapping[str, Any]) -> float:
    """Tokens a second of all streams at the clock that was asked for."""
    return float(line["clock_mhz"] * 1e6 / line["cycles_per_token"])


def plot(file: Path, lines: Sequence[Line]) -> None:
    """Draw a history into an SVG or PNG file, each board over the commits that built one anew.

    Raises
    ------
    SetunError
        matplotlib is not installed; the file cannot be written.
    """
    figures = pyplot()
    commits = list(dict.fromkeys(line["commit"] for line in lines))
    panels = (
        ("tokens/s", "log", tokens),
        ("MHz reached", "linear", lambda line: line["fmax_mhz"]),
        ("LUTs", "log", lambda line: line["luts"]),
        ("block RAMs", "linear", lambda line: line["block_ram"]),
    )
    figure, axes = figures.subplots(2, 2, figsize=(10, 6.5), sharex=True)
    for axis, (label, scale, value) in zip(axes.flat, panels, strict=True):
        for board in sorted({line["board"] for line in lines}):
            own = [line for line in lines if line["board"] == board]
            # A chip is what it is until the next one is built.
            at = [commits.index(line["commit"]) for line in own] + [len(commits) - 1]
            heights = [value(line) for line in own]
            axis.step(at, [*heights, heights[-1]], "o-", where="post", markersize=3, label=board)
        axis.set(ylabel=label, yscale=scale)
        axis.set_xticks(range(len(commits)), commits, rotation=90, fontsize=7)
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=7)
    try:
        save(figure, file)
    finally:
        figures.close(figure)
