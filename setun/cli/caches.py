"""A cache folder that can be written: tools that come from pip keep compiled code in it."""

import os
import sys

from setun.firmware.folders import cache_home, own_folder, writable

VARIABLE = "XDG_CACHE_HOME"
# Verbs that keep something for the next run, so that a lost cache costs time.
KEEPING = ("demo", "generate", "build", "explore", "bench")


def ensure_cache(arguments: list[str]) -> None:
    """Where the user's cache folder cannot be written, name another one to this run's tools.

    They fail without one (wasmtime) or put it where it is not found again. It is the user's own
    under the temporary folder; a note says so when a verb is asked for that keeps something there.
    """
    folder = cache_home()
    if writable(folder):
        return
    other = own_folder("setun-cache")
    os.environ[VARIABLE] = str(other)
    if (arguments[:1] and arguments[0] in KEEPING) or "sim" in arguments:
        print(f"setun: cannot write {folder}; what is kept goes to {other}", file=sys.stderr)
