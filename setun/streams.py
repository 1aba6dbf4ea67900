"""Standard streams that may be closed, full or of a narrow encoding.

Imports nothing but the standard library: it is what a program calls first.
"""

import contextlib
import io
import os
import sys
from typing import TextIO

READ, PRINTED, TOLD = range(3)  # file descriptors


class _Named(io.FileIO):
    """A descriptor whose errors name it, but that nobody reads it any more."""

    def __init__(self, descriptor: int, label: str) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._label = label

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except BrokenPipeError:
            raise
        except OSError as error:
            error.filename = self._label
            raise


def guard() -> None:
    """Make the standard streams fit for any program; such as are Python's own.

    A closed one would give its number to the next file that is opened: reading stdin and writing
    stdout are errors then, and stderr is silent. Errors of writing name the stream; what the
    encoding of stdout lacks is printed as "?".
    """
    for descriptor, flags in ((READ, os.O_WRONLY), (PRINTED, os.O_RDONLY), (TOLD, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
    sys.stdin = sys.stdin or os.fdopen(READ, closefd=False)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _writer(PRINTED, "stdout", sys.stdout, "replace")
    if sys.stderr is sys.__stderr__:
        sys.stderr = _writer(TOLD, "stderr", sys.stderr, "backslashreplace")


def tell(line: str) -> None:
    """Print a line on stderr, if that can be."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def settle(status: int) -> int:
    """Write what still waits on stdout and stderr.

    The exit status: `status`, but 1 where writing fails, which is told unless nobody reads.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            # Python tries once more when it ends; what waits goes nowhere.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
            if not (status or isinstance(error, BrokenPipeError)):
                tell(f"setun: error: {error.filename}: {error.strerror}")
            status = status or 1
    return status


def _writer(descriptor: int, label: str, before: TextIO | None, errors: str) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(_Named(descriptor, label)),
        encoding=before.encoding if before else None,
        errors=errors,
        line_buffering=descriptor == TOLD or os.isatty(descriptor),
        write_through=bool(getattr(before, "write_through", False)),
    )
