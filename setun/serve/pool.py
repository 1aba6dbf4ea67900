"""Answers waiting in order, and the contexts of all boards that make them."""

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence

from setun.firmware.numerics.options import Numerics
from setun.serve.context import Context
from setun.serve.job import Failed, Job
from setun.serve.tally import Tally

TRIES = 2  # of an answer of which nothing was told before its board was gone
CLOSING = "the server is closing"


class QueueFull(Exception):
    """As many answers wait as may."""


class NoBoard(Exception):
    """No board is there that could make an answer."""


class Place:
    """What a pool knows of a board: its contexts, and whether it is there. See `Board`."""

    def __init__(self) -> None:
        self.contexts: list[Context] = []
        self.up = False


class Pool:
    """Gives waiting jobs to free contexts, first come, first served.

    A job goes to the context that has read the most of its prompt, else to the one that has been
    left alone the longest.

    Parameters
    ----------
    longest
        Jobs that may wait.

    Members
    -------
    places
        The boards.
    changed
        Its lock; notified when there is something to do.
    closed
        Set when boards should end.
    numerics
        Arithmetic of its boards, once one was opened.
    tally
        What was done so far.
    """

    def __init__(self, longest: int) -> None:
        self.changed = threading.Condition()
        self.places: list[Place] = []
        self.closed = threading.Event()
        self.numerics: Numerics | None = None
        self.tally = Tally()
        self._longest = longest
        self._waiting: deque[Job] = deque()

    @property
    def waiting(self) -> int:
        """Jobs that no context works for yet."""
        return len(self._waiting)

    @property
    def working(self) -> int:
        """Contexts with a job."""
        return sum(c.job is not None for place in self.places for c in place.contexts)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take all of these jobs, or none.

        Raises
        ------
        QueueFull, NoBoard
        """
        with self.changed:
            if self.closed.is_set() or not any(place.up for place in self.places):
                raise NoBoard
            if len(self._waiting) + len(jobs) > self._longest + len(list(self._free())):
                raise QueueFull
            self._waiting.extend(jobs)
            self.assign()

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Make no more of these jobs."""
        with self.changed:
            for job in jobs:
                job.cancelled = True
                if job in self._waiting:
                    self._waiting.remove(job)
            self.changed.notify_all()

    def assign(self) -> None:
        """Give jobs to free contexts; with the lock held."""
        while self._waiting and (free := list(self._free())):
            job = self._waiting.popleft()
            best = max(free, key=lambda context: (context.holds(job), -context.used))
            best.take(job, time.monotonic())
        self.changed.notify_all()

    def release(self, context: Context) -> None:
        """Let a context have the next job."""
        with self.changed:
            context.job = None
            self.assign()

    def lose(self, place: Place, error: str) -> None:
        """Take a board out; jobs of which something was told already fail."""
        again: list[Job] = []
        failed: list[Job] = []
        with self.changed:
            place.up = False
            for context in place.contexts:
                job = context.job
                context.forget()
                if job is None or job.cancelled or job.over:
                    continue
                job.tries += 1
                over = job.made or job.tries >= TRIES or self.closed.is_set()
                (failed if over else again).append(job)
            self._waiting.extendleft(reversed(again))
            self.assign()
        for job in failed:
            job.tell(Failed(error))

    def close(self) -> None:
        """End everything; what waits fails. Boards end soon after."""
        with self.changed:
            self.closed.set()
            left = list(self._waiting)
            self._waiting.clear()
            self.changed.notify_all()
        for job in left:
            job.tell(Failed(CLOSING))

    def _free(self) -> Iterator[Context]:
        for place in self.places:
            if place.up:
                yield from (context for context in place.contexts if context.job is None)
