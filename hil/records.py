"""Records of boards that were tried: what one holds, and how one that was sent in is read.

`python hil/records.py FILE...` checks records and prints a table of them.
"""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from setun.firmware.errors import SetunError
from setun.programs import parser, run, table
from setun.streams import tell

FORMAT = 1
MOST_BYTES = 1 << 16
MOST_CHARACTERS = 200
TOKENS = 1000
"""Tokens that a board has to speak, each equal to the golden model's, to have run."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run on one board.

    date
        Day, as 2026-11-29.
    setun, commit
        Version and commit; the latter "unknown" outside of a clone.
    board, model
        As `setun boards` and `setun build` name them.
    system
        Operating system of the host.
    tools
        Versions by tool, as `setun doctor` tells them.
    clock_mhz, fmax_mhz, luts
        What the bitstream was built for, what it reached, what it takes.
    tokens, golden_match
        How many were spoken, whether each was the golden model's.
    tokens_per_second
        By the clock, the serial port included.
    cycles_per_token
        By the chip's own counters.
    watts, meter
        Of the whole board while it spoke, and what measured that; null and "" if nothing did.
    by, notes
        Who ran it, and anything else; may be empty.
    """

    format: int
    date: str
    setun: str
    commit: str
    board: str
    model: str
    system: str
    tools: dict[str, str]
    clock_mhz: float
    fmax_mhz: float
    luts: int
    tokens: int
    golden_match: bool
    tokens_per_second: float
    cycles_per_token: float
    watts: float | None
    meter: str
    by: str
    notes: str

    @property
    def ran(self) -> bool:
        """Whether the board may be said to run."""
        return self.golden_match and self.tokens >= TOKENS

    def text(self) -> str:
        """The file."""
        return json.dumps(asdict(self), indent=2) + "\n"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _words(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MOST_CHARACTERS and value.isprintable()


def _versions(value: Any) -> bool:
    return isinstance(value, dict) and all(_words(each) for pair in value.items() for each in pair)


_RULES: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    str: (f"must be at most {MOST_CHARACTERS} printable characters", _words),
    dict[str, str]: ("must be versions by name", _versions),
    bool: ("must be true or false", lambda value: isinstance(value, bool)),
    int: ("must be a whole number, 1 or more", lambda v: type(v) is int and v > 0),
    float: ("must be a number above 0", lambda v: _number(v) and v > 0),
    float | None: (
        "must be a number above 0, or null",
        lambda v: v is None or (_number(v) and v > 0),
    ),
}


def parsed(text: str, source: str = "record") -> Record:
    """A record of its file's text.

    Raises
    ------
    SetunError
        It is none: what is wrong with which field.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SetunError(source, "must be JSON", error, "send what hil/run.py wrote") from None
    if not isinstance(found, dict):
        raise SetunError(source, "must be a record", type(found).__name__)
    known = {field.name: field.type for field in fields(Record)}
    if found.get("format") != FORMAT:
        raise SetunError(f"{source}, format", f"must be {FORMAT}", found.get("format", "none"))
    for name in sorted(known.keys() ^ found.keys()):
        rule = "must be there" if name in known else "is no field of a record"
        raise SetunError(f"{source}, {name[:MOST_CHARACTERS]!r}", rule)
    for name, kind in known.items():
        rule, holds = _RULES[kind]
        if not holds(found[name]):
            shown = repr(found[name])[:MOST_CHARACTERS]
            raise SetunError(f"{source}, {name}", rule, shown)
    if (found["watts"] is None) != (found["meter"] == ""):
        raise SetunError(f"{source}, watts", "need the meter's name, and it them", found["watts"])
    return Record(**found)


def read(file: Path) -> Record:
    """The record in a file; SetunError where it is none, or cannot be read."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SetunError(str(file), "must be a record that can be read", error) from None
    if len(data) > MOST_BYTES:
        raise SetunError(str(file), f"must have at most {MOST_BYTES} bytes", "more")
    return parsed(text, str(file))


def main() -> None:
    """Print a table of records; exit status 1 where one is none."""
    options = parser(__doc__)
    options.add_argument("records", nargs="+", type=Path, metavar="FILE")
    rows, status = [], 0
    for file in options.parse_args().records:
        try:
            record = read(file)
        except SetunError as error:
            tell(f"setun: error: {error}")
            status = 1
            continue
        watts = "" if record.watts is None else f"{record.watts:g}, {record.meter}"
        rows.append(
            [
                record.board,
                record.model,
                record.date,
                "yes" if record.ran else "no",
                f"{record.tokens:,}",
                f"{record.tokens_per_second:,.0f}",
                watts,
            ]
        )
    print(table(["board", "model", "day", "ran", "tokens", "tokens/s", "watts"], rows))
    sys.exit(status)


if __name__ == "__main__":
    run(main)
