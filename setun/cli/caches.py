"""A cache folder that can be written: tools that come from pip keep compiled code in it."""

import os
import sys
import tempfile
from pathlib import Path

VARIABLE = "XDG_CACHE_HOME"
# Verbs that keep something for the next run, so that a lost cache costs time.
KEEPING = ("demo", "generate", "build", "bench")


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def ensure_cache(arguments: list[str]) -> None:
    """Where the user's cache folder cannot be written, name another one to this run's tools.

    They fail without one (wasmtime) or put it where it is not found again. It is the user's own
    under the temporary folder; a note says so when a verb is asked for that keeps something there.
    """
    base = os.environ.get(VARIABLE, "")
    folder = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~")) / ".cache"
    if _writable(folder):
        return
    other = Path(tempfile.gettempdir()) / f"setun-cache-{os.getuid()}"
    # A folder planted by another user could hold any executable.
    if not _writable(other) or other.is_symlink() or other.stat().st_uid != os.getuid():
        other = Path(tempfile.mkdtemp(prefix="setun-cache-"))
    os.environ[VARIABLE] = str(other)
    if (arguments[:1] and arguments[0] in KEEPING) or "sim" in arguments:
        print(f"setun: cannot write {folder}; what is kept goes to {other}", file=sys.stderr)
