"""Try a board: build, flash, doctor, 1,000 tokens against the golden model, a record to send in.

`python hil/run.py --board ulx3s-85f --port /dev/ttyUSB0` does all of it. `--bitstream OUT` takes a
folder of `setun build` instead of building; `--flashed` says that it is on the board already. With
a power meter: `--watts 1.9 --meter "FNB58"`.
"""

import argparse
import datetime
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from records import FORMAT, MOST_CHARACTERS, TOKENS, Record

from setun import boards
from setun.bench.history import here
from setun.firmware.errors import SetunError
from setun.firmware.outputs import check_output, write_output
from setun.programs import parser, run

PROMPT = "ROMEO:"


def setun(*arguments: str) -> Any:
    """JSON of a verb, whose progress goes to the terminal; SystemExit where it fails."""
    line = [sys.executable, "-m", "setun", *arguments, "--json"]
    print(f"$ setun {' '.join(arguments)}", file=sys.stderr)
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def reported(folder: Path) -> Any:
    """The report of a build; SetunError where the folder has none."""
    try:
        return json.loads((folder / "report.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        fix = "the folder that setun build -o wrote"
        raise SetunError(f"{folder}", "must hold a report.json", error, fix) from None


def tried(options: argparse.Namespace) -> Record:
    """Everything in order."""
    board = boards.get(options.board)
    folder: Path = options.bitstream or options.output.with_suffix("")
    if not options.bitstream:
        model = options.model or board.model
        setun("build", "--board", board.name, "--model", model, "-o", str(folder))
    report = reported(folder)
    if report["board"] != board.name:
        raise SetunError(f"{folder}", f"must be a build for {board.name}", report["board"])
    if not options.flashed:
        setun("flash", "--board", board.name, str(folder))
    checked = setun("doctor")
    port = ("--port", options.port) if options.port else ()
    baud = ("--baud", str(options.baud)) if options.baud else ()
    spoken = ("--prompt", PROMPT, "-n", str(options.tokens), "--temperature", "0.8", "--seed", "1")
    model = options.model or report["model"]
    ran = setun("run", model, "--backend", "serial", *port, *baud, *spoken, "--ignore-eos")
    commit, _ = here()
    return Record(
        format=FORMAT,
        date=datetime.date.today().isoformat(),
        setun=checked["setun"],
        commit=commit,
        board=board.name,
        model=report["model"],
        system=platform.platform()[:MOST_CHARACTERS],
        tools={tool["name"]: tool["version"] for tool in checked["tools"] if tool["found"]},
        clock_mhz=report["clock_mhz"],
        fmax_mhz=report["fmax_mhz"],
        luts=report["utilisation"]["luts"][0],
        tokens=len(ran["tokens"]),
        golden_match=ran["golden_match"],
        tokens_per_second=ran["tokens_per_second"],
        cycles_per_token=ran["cycles_per_token"],
        watts=options.watts,
        meter=options.meter,
        by=options.by,
        notes=options.notes,
    )


def main() -> None:
    """Write the record; exit status 0 if each token was the golden model's, 2 if one differs."""
    options = parser(__doc__)
    options.add_argument("--board", required=True, help="as `setun boards` names it")
    options.add_argument("--model", help="model in the bitstream; default the board's")
    options.add_argument("--port", help="serial port; default the board on USB")
    options.add_argument("--baud", type=int, help="its bit rate; default those of the boards")
    options.add_argument("--bitstream", type=Path, metavar="OUT", help="a folder of `setun build`")
    options.add_argument("--flashed", action="store_true", help="it is on the board already")
    options.add_argument("--tokens", type=int, default=TOKENS, help="how many the board speaks")
    options.add_argument("--watts", type=float, help="of the board while it speaks")
    options.add_argument("--meter", default="", help="what measured them")
    options.add_argument("--by", default="", help="your name, if it may be shown")
    options.add_argument("--notes", default="", help="anything else")
    options.add_argument("-o", "--output", type=Path, default=Path("record.json"))
    chosen = options.parse_args()
    if (chosen.watts is None) != (chosen.meter == ""):
        options.error("--watts and --meter belong together")
    check_output(chosen.output)
    record = tried(chosen)
    write_output(chosen.output, record.text().encode())
    said = "runs" if record.ran else "does not run yet"
    speed = f"{record.tokens_per_second:,.0f} a second"
    print(f"{record.board} {said}: {record.tokens:,} tokens, {speed}")
    print(f"{chosen.output}: please send it in (hil/README.md)")
    if not record.golden_match:
        sys.exit(2)


if __name__ == "__main__":
    run(main)
