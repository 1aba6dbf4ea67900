"""Folders that can be written, for what is kept between runs."""

import os
import tempfile
from pathlib import Path


def cache_home() -> Path:
    """``XDG_CACHE_HOME``, or ``~/.cache`` where that is no absolute path."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~")) / ".cache"


def writable(folder: Path) -> bool:
    """Whether a file can be made in `folder`, which is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def own_folder(name: str) -> Path:
    """The user's own NAME-UID under the temporary folder; a fresh one where that is not safe."""
    folder = Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"
    # A folder planted by another user could hold any executable.
    if writable(folder) and not folder.is_symlink() and folder.stat().st_uid == os.getuid():
        return folder
    return Path(tempfile.mkdtemp(prefix=f"{name}-"))
