"""Loaded by the workers of this machine (dask's `preload`): an interrupt is not theirs.

A terminal sends it to all processes; the program that started them ends them in its own order.
"""

import signal


def dask_setup(worker: object) -> None:
    """Called by dask in the worker's main thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
