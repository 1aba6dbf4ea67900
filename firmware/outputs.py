"""Outputs: files that are whole or as they were, and what is no regular file.

A symlink's target is written, not the link. Devices, FIFOs and pipes, ``/dev/stdout`` and a
shell's ``>(…)`` among them, are written into. Disks are refused.
"""

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from setun.firmware.errors import SetunError

Data = bytes | memoryview
"""Bytes, or a view of bytes."""


def write_output(path: Path, data: Data | Iterable[Data]) -> None:
    """Put `data`, or its parts one after the other, at `path`.

    A regular file is replaced by a finished one, at once.

    Raises
    ------
    SetunError
        Nothing can be written there; a file that was there is as it was.
    BrokenPipeError
        `path` is standard output, and nobody reads it.
    """
    parts = (data,) if isinstance(data, Data) else data
    with _refusal(path):
        if is_standard_output(path):
            sys.stdout.flush()
            sys.stdout.buffer.writelines(parts)
            sys.stdout.buffer.flush()
        elif _is_regular(path):
            _replace(Path(os.path.realpath(path)), parts)
        else:
            with path.open("wb") as file:
                file.writelines(parts)


def check_output(path: Path) -> None:
    """Refuse what `write_output` would, before long work; touches nothing.

    Raises
    ------
    SetunError
        There is no such folder, nothing may be written there, or something that cannot be.
    """
    with _refusal(path):
        if _is_regular(path):
            folder = os.path.dirname(os.path.realpath(path))
            os.stat(folder)
            if not os.path.isdir(folder):
                raise NotADirectoryError(os.strerror(errno.ENOTDIR))
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(os.strerror(errno.EACCES))


def discard_output(path: Path) -> None:
    """Remove the file at `path` if there is one; a link stays, and so does what is no file."""
    with _refusal(path):
        if _is_regular(path):
            Path(os.path.realpath(path)).unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless it is there.

    Raises
    ------
    SetunError
        Something else is there, or it may not be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise SetunError(str(path), "must be a folder", "something else") from None
    except (OSError, ValueError) as error:
        raise SetunError(f"folder {path}", "must be writable", _reason(error)) from error


def check_folder(path: Path) -> None:
    """Refuse what `make_folder` would, before long work; touches nothing.

    Raises
    ------
    SetunError
        Something else is there, or nothing may be written in it or where it will be.
    """
    above = path.absolute()
    while not os.path.lexists(above) and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise SetunError(str(above), "must be a folder", "something else")
    if not os.access(above, os.W_OK | os.X_OK):
        raise SetunError(f"folder {path}", "must be writable", os.strerror(errno.EACCES))


def is_standard_output(path: Path) -> bool:
    """Whether what is written to `path` goes among what is printed; a device does no harm."""
    try:
        there, own = path.stat(), os.fstat(1)
    except (OSError, ValueError):
        return False
    return os.path.samestat(there, own) and not stat.S_ISCHR(there.st_mode)


def _is_regular(path: Path) -> bool:
    """Whether a file is there, or nothing yet."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return True
    if stat.S_ISDIR(mode):
        raise SetunError(str(path), "must be a file", "a folder")
    if stat.S_ISBLK(mode):
        raise SetunError(str(path), "must be a file", "a disk")
    return stat.S_ISREG(mode)


def _replace(path: Path, parts: Iterable[Data]) -> None:
    temporary = path.parent / f".{path.name[:100]}.{secrets.token_hex(4)}.tmp"
    try:
        with temporary.open("xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink(missing_ok=True)


class _refusal(contextlib.AbstractContextManager[None]):
    """Errors of the system as a refusal of `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BrokenPipeError) and is_standard_output(self._path):
            return
        if isinstance(error, OSError | ValueError):
            raise SetunError(str(self._path), "must be writable", _reason(error)) from error


def _reason(error: Exception) -> object:
    return getattr(error, "strerror", None) or error
