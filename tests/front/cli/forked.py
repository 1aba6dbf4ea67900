"""The command in forks of one process, so that a table of many runs is quick.

Run as a program with a JSON file of cases: each has `args`, and what its standard streams are:
`closed` and `full` list descriptors, `broken` says that nobody reads stdout, `encoding` is that of
stdout. Prints a list of [status, stdout, stderr], each shown as far as it was written.
"""

import json
import os
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, BinaryIO

STREAMS = {0: ("stdin", "r"), 1: ("stdout", "w"), 2: ("stderr", "w")}


def main() -> None:
    """Run the first case here, so that all is imported, then fork for each."""
    from setun.cli import run

    cases = json.loads(Path(sys.argv[1]).read_text())
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        run(cases[0]["args"])
    print(json.dumps([result(case) for case in cases]))


def result(case: dict[str, Any]) -> tuple[int, str, str]:
    """Status and output of one run."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            try:
                _become(case, out, err)
            except SystemExit as ended:
                os._exit(_ended(ended))
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(99)
            os._exit(98)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
        return status, texts[0], texts[1]


def _ended(ended: SystemExit) -> int:
    """The status as Python gives it after it has flushed the standard streams."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, AttributeError):
        return 120
    return ended.code if isinstance(ended.code, int) else 1


def _become(case: dict[str, Any], out: BinaryIO, err: BinaryIO) -> None:
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    reading = os.open(os.devnull, os.O_RDONLY)
    os.dup2(reading, 0)
    for descriptor in case.get("full", []):
        os.dup2(os.open("/dev/full", os.O_WRONLY), descriptor)
    if case.get("broken"):
        read, write = os.pipe()
        os.close(read)
        os.dup2(write, 1)
    for descriptor in case.get("closed", []):
        os.close(descriptor)
    for descriptor, (name, mode) in STREAMS.items():
        closed = descriptor in case.get("closed", [])
        encoding = case.get("encoding", "utf-8") if descriptor == 1 else "utf-8"
        errors = "backslashreplace" if descriptor == 2 else "strict"
        stream = None if closed else os.fdopen(descriptor, mode, encoding=encoding, errors=errors)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)  # as Python does, which keeps it open
    sys.argv = ["setun", *case["args"]]
    from setun.__main__ import main as command

    command()


if __name__ == "__main__":
    main()
