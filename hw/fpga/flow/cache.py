"""Results of tools, kept under the hash of everything that went into them."""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

KEPT_ENTRIES = 40  # more than one `setun bench --units` and a few bitstreams leave
STALE_SECONDS = 86_400


def default_root() -> Path:
    """Cache folder: $XDG_CACHE_HOME/setun/build, else ~/.cache/setun/build."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "setun" / "build"


def digest(*parts: object) -> str:
    """SHA-256, in hex, of parts that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Cache:
    """Folders of files by key; an entry appears whole or not at all.

    Parameters
    ----------
    root
        Where entries live. A folder that cannot be written is replaced by one that lasts as
        long as this object.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            writable = os.access(self.root, os.W_OK)
        except OSError:
            writable = False
        if not writable:
            self._temporary = tempfile.TemporaryDirectory(prefix="setun-build-")
            self.root = Path(self._temporary.name)

    def get(self, key: str, produce: Callable[[Path], None]) -> Path:
        """The entry for `key`, filled by `produce` if it is not there yet.

        Two builds that make the same entry at once both get a whole one.
        """
        entry = self.root / key
        if entry.is_dir():
            os.utime(entry)
            return entry
        work = Path(tempfile.mkdtemp(prefix=".", dir=self.root))
        try:
            produce(work)
            try:
                work.rename(entry)
            except OSError:
                if not entry.is_dir():
                    raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
        self._prune(entry)
        return entry

    def _prune(self, fresh: Path) -> None:
        def age(path: Path) -> float:
            try:
                return path.stat().st_mtime
            except FileNotFoundError:
                return 0.0

        folders = sorted(self.root.iterdir(), key=age, reverse=True)
        stale = time.time() - STALE_SECONDS
        entries = [path for path in folders if not path.name.startswith(".") and path != fresh]
        left = [path for path in folders if path.name.startswith(".") and age(path) < stale]
        for path in [*entries[KEPT_ENTRIES - 1 :], *left]:
            shutil.rmtree(path, ignore_errors=True)
