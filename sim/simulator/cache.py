"""Folders of finished work, named by the hash of what went in."""

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from setun.firmware.folders import cache_home, own_folder, writable

KEEP = 48
STALE_SECONDS = 24 * 3600.0


def cache_folder() -> Path:
    """The simulator's cache: ``setun/sim`` under ``XDG_CACHE_HOME`` or ``~/.cache``.

    Where that cannot be written, a folder of this user's own under the temporary folder, with a
    note on stderr.
    """
    folder = cache_home() / "setun" / "sim"
    if writable(folder):
        return folder
    other = own_folder("setun-sim")
    print(f"setun: cannot write {folder}; compiled chips go to {other}", file=sys.stderr)
    return other


def build_once(folder: Path, name: str, build: Callable[[Path], None]) -> tuple[Path, bool]:
    """The entry ``folder/name``, made by ``build`` in a scratch folder if it is not there.

    Two processes asking for the same entry build it once; a build that fails or is killed
    leaves no entry.

    Returns
    -------
    entry, hit
        The finished folder; whether it was there already.
    """
    entry = folder / name
    if _touch(entry):
        return entry, True
    folder.mkdir(parents=True, exist_ok=True)
    _tidy(folder)
    with _lock(folder / f".{name}.lock"):
        if _touch(entry):
            return entry, True
        scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
        try:
            build(scratch)
            scratch.chmod(0o755)
            os.rename(scratch, entry)
        except OSError:
            if not _touch(entry):
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return entry, False


def _touch(entry: Path) -> bool:
    if not entry.is_dir():
        return False
    with contextlib.suppress(OSError):
        os.utime(entry)
    return True


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


def _tidy(folder: Path) -> None:
    """Drop the entries unused for longest, and what killed builds left."""
    aged: list[tuple[float, Path]] = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            aged.append((path.stat().st_mtime, path))
    entries = sorted((a for a in aged if not a[1].name.startswith(".")), reverse=True)
    old = time.time() - STALE_SECONDS
    for _, path in entries[KEEP:]:
        shutil.rmtree(path, ignore_errors=True)
    for age, path in aged:
        if path.name.startswith(".new-") and age < old:
            shutil.rmtree(path, ignore_errors=True)
