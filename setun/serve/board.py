"""The thread that drives one engine, and opens it again when it was gone."""

import contextlib
import threading
import time
from collections.abc import Callable

from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.serve.check import GoldenCheck
from setun.serve.context import Context
from setun.serve.engine import Ended, Engine
from setun.serve.pace import Pace
from setun.serve.pool import CLOSING, Place, Pool
from setun.streams import tell

FEED_SECONDS, WAIT_SECONDS = 0.002, 0.02  # that a token is awaited before others are looked after
IDLE_SECONDS = 0.5
RETRY_SECONDS = 0.5
COUNT_SECONDS = 0.5  # between looks at the chip's counters, which wrap


class Board(Place):
    """A chip, or the golden model, of a pool.

    Parameters
    ----------
    name
        For people: its port.
    opened
        Opens it; called again half a second after it was gone or could not be opened.
    image
        Its model.
    pool
        Whose jobs it takes.

    Members
    -------
    engine
        The latest that was opened; None before the first.
    error
        Why it is not there, "" while it is.
    counters
        The chip's counters since the server opened it first.
    pace
        What it has done lately.
    cycles_per_token
        Of the latest answer that ended; None without a clock.
    """

    def __init__(self, name: str, opened: Callable[[], Engine], image: Image, pool: Pool) -> None:
        super().__init__()
        self.name = name
        self.engine: Engine | None = None
        self.error = "not opened yet"
        self.counters: dict[str, int] = {}
        self.pace = Pace()
        self.cycles_per_token: float | None = None
        self._opened, self._image, self._pool = opened, image, pool
        self._latest: dict[str, int] = {}
        self._counted = 0.0
        self._thread = threading.Thread(target=self._run, name=f"board {name}", daemon=True)

    def open(self) -> None:
        """Open the engine.

        Raises
        ------
        SetunError
            It cannot be opened; its arithmetic is not that of the pool's other boards.
        """
        engine = self._opened()
        try:
            self._check_numerics(engine)
            self._latest = engine.counters()
        except BaseException:
            engine.close()
            raise
        self.engine = engine
        with self._pool.changed:
            self.contexts = [Context(k, self._checking) for k in range(engine.contexts)]
            self.up, self.error = True, ""
            self._pool.assign()

    @property
    def working(self) -> int:
        """Contexts that have a job."""
        return sum(context.job is not None for context in self.contexts)

    def start(self) -> None:
        """Begin to work, in a thread of its own."""
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Release the engine, the pool closing; a thread that works has so many seconds to end."""
        if self._thread.is_alive():
            self._thread.join(seconds)
        else:
            self._lose(CLOSING)

    def _check_numerics(self, engine: Engine) -> None:
        if self._pool.numerics not in (None, engine.numerics):
            rule = "must compute as the other boards do, or answers would depend on the board"
            found = ", ".join(f"{k} {v}" for k, v in engine.numerics.to_dict().items())
            raise SetunError(f"board {self.name}", rule, found, "serve it alone")
        self._pool.numerics = engine.numerics

    def _checking(self) -> GoldenCheck:
        assert self.engine is not None
        return GoldenCheck(self._image, self.engine.numerics)

    def _run(self) -> None:
        while not self._pool.closed.is_set():
            try:
                if not self.up:
                    self.open()
                if self.engine is not None:
                    self._serve(self.engine)
                self._lose(CLOSING)
            except SetunError as error:
                self._lose(str(error))
            except Exception as error:  # a fault of ours must not end the board for good
                tell(f"setun: error: board {self.name}: {type(error).__name__}: {error}")
                self._lose("internal error")
            self._pool.closed.wait(RETRY_SECONDS)

    def _lose(self, error: str) -> None:
        if self.engine is not None and self.up:
            with contextlib.suppress(SetunError):
                self.engine.close()
        if self.up and not self._pool.closed.is_set():
            self._pool.tally.add("losses", label=self.name)
        self.error = error
        self._pool.lose(self, error)

    def _serve(self, engine: Engine) -> None:
        pool, rested = self._pool, False
        while not pool.closed.is_set():
            with pool.changed:
                if not self.working:
                    pool.changed.wait(IDLE_SECONDS)
            if not self.working:
                engine.idle()
                rested = True
                continue
            if rested:
                self._check_kept(engine)
                rested = False
            for context in self.contexts:
                if context.unwanted:
                    pool.release(context)
                elif fed := context.advance(engine):
                    pool.tally.add("prompt_tokens", fed)
            feeding = any(context.feeding for context in self.contexts)
            for number, event in engine.poll(FEED_SECONDS if feeding else WAIT_SECONDS):
                self._hear(self.contexts[number], event, engine)
            if not self.working or time.monotonic() - self._counted > COUNT_SECONDS:
                self._count(engine)

    def _check_kept(self, engine: Engine) -> None:
        """Refuse a chip whose counters went back while nothing was asked of it."""
        found = engine.counters()
        if any((value - self._latest[name]) & 1 << 31 for name, value in found.items()):
            rule = "must keep what it was fed"
            raise SetunError(f"board {self.name}", rule, "it was reset", "it is opened again")

    def _hear(self, context: Context, event: int | Ended, engine: Engine) -> None:
        pool, job = self._pool, context.job
        if not isinstance(event, Ended):
            pool.tally.add("completion_tokens")
            self.pace.tokens += 1
            if not context.hear(event, engine):
                pool.tally.add("mismatches")
            return
        news = context.end(event)
        if job is not None and job.made and event.cycles:
            self.cycles_per_token = event.cycles / job.made
        pool.release(context)  # at once: the other contexts go on without it
        if job is not None:
            job.tell(news)

    def _count(self, engine: Engine) -> None:
        found, self._counted = engine.counters(), time.monotonic()
        for name, value in found.items():
            more = (value - self._latest.get(name, 0)) & 0xFFFFFFFF
            self.counters[name] = self.counters.get(name, 0) + more
        self._latest = found
        self.pace.sample(self.counters)
