"""Interrupts (Ctrl-C) that wait until processes have been started or ended, or do nothing."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType


@contextmanager
def waiting() -> Iterator[None]:
    """An interrupt waits until the body has ended; processes started in the body never get one.

    A terminal sends it to all processes of a program: a half-started worker would die of it with a
    traceback, a half-started cluster could be neither used nor closed. Processes inherit which
    signals are blocked from the thread that starts them, threads from the thread that made them.
    In a thread other than the main one, where no interrupt arrives, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[FrameType | None] = []
    # The first process needs it, and its start would unblock the signal in that thread.
    resource_tracker.ensure_running()
    before = signal.signal(signal.SIGINT, lambda _, frame: came.append(frame))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, before)
        if came and callable(before):
            before(signal.SIGINT, came[-1])


@contextmanager
def ignored() -> Iterator[None]:
    """Interrupts do nothing, while a program that was interrupted writes what it has.

    In a thread other than the main one, where no interrupt arrives, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
