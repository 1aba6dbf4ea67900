"""One context of an engine: what it has read, and the answer that it is making."""

from collections.abc import Callable

from setun.backends.base import Sampling
from setun.firmware.errors import SetunError
from setun.firmware.link.messages import Reason
from setun.serve.check import GoldenCheck
from setun.serve.engine import Ended, Engine
from setun.serve.job import Failed, Finished, Job, News, Said

_REASONS = {Reason.END_OF_TEXT: "stop", Reason.COUNT: "length", Reason.CONTEXT_FULL: "length"}
_BROKEN = (Reason.FAULT, Reason.WATCHDOG)


class Context:
    """A conversation's place. `holds` and `take` are the pool's, the rest the engine's thread's.

    Parameters
    ----------
    number
        Of the engine's contexts.
    checking
        Makes a golden model beside it, once one is asked for.

    Members
    -------
    job
        What it works for; None when it is free.
    used
        When it was last given a job, in seconds; 0 for never.
    """

    def __init__(self, number: int, checking: Callable[[], GoldenCheck]) -> None:
        self.number = number
        self.job: Job | None = None
        self.used = 0.0
        self._read: list[int] = []
        self._rest: list[int] = []
        self._fresh = self._begun = self._stopping = False
        self._checking = checking
        self._golden: GoldenCheck | None = None

    def holds(self, job: Job) -> int:
        """Tokens of the job's prompt that need not be fed again: all that was read, or none."""
        read = len(self._read)
        return read if job.prompt[:read] == self._read else 0

    def take(self, job: Job, now: float) -> None:
        """Work for `job` from now on."""
        job.cached = self.holds(job)
        self._rest = job.prompt[job.cached :]
        self._fresh = not job.cached
        self._begun = self._stopping = False
        self.used = now
        self.job = job  # last: the engine's thread looks for it without the lock

    @property
    def feeding(self) -> bool:
        """Whether the prompt is not all fed."""
        return self.job is not None and not self._begun

    @property
    def unwanted(self) -> bool:
        """Whether its job was cancelled before anything was done for it."""
        return self.job is not None and self.job.cancelled and self._fresh

    def forget(self) -> None:
        """Be empty and free, as after a loss of power."""
        self.job = None
        self._read = []

    def advance(self, engine: Engine) -> int:
        """Do what can be done without waiting for a token; how many of the prompt were fed.

        A prompt goes in as far as there is room, then the generation begins.
        """
        job = self.job
        if job is None or self._stopping:
            return 0
        if job.cancelled:
            self._stop(engine)
            return 0
        if self._begun:
            return 0
        if self._fresh:
            engine.reset(self.number)
            self._read, self._fresh = [], False
        taken = engine.feed(self._rest, self.number) if self._rest else 0
        self._read += self._rest[:taken]
        del self._rest[:taken]
        if not self._rest:
            engine.begin(self.number, job.count, job.sampling)
            self._begun = True
            if job.verify:
                self._golden = self._golden or self._checking()
                self._golden.begin(self._read, job.sampling)
        return taken

    def hear(self, token: int, engine: Engine) -> bool:
        """Tell of a token that the engine gave; false where the golden model has another."""
        self._read.append(token)
        job = self.job
        if job is None or self._stopping:
            return True
        if job.verify and self._golden is not None:
            try:
                self._golden.check(token)
            except SetunError as error:
                job.tell(Failed(str(error)))
                self._stop(engine)
                return False
        job.made += 1
        job.tell(Said(token, job.answer.feed(token), job.verify))
        if job.answer.stopped:
            job.tell(Finished("", "stop"))
            self._stop(engine)
        return True

    def end(self, ended: Ended) -> News:
        """What is to be told of the generation's end, once the context is free.

        Raises
        ------
        SetunError
            The chip's program is damaged or hangs.
        """
        if ended.reason in _BROKEN:
            why = ended.reason.name.lower()
            raise SetunError("generation", "must run to its end", why, "the model is loaded again")
        if ended.reason is Reason.CONTEXT_FULL:
            self._read = []  # the last token has found no place
        if self.job is None or ended.reason not in _REASONS:
            return Failed(f"generation: must run to its end; found {ended.reason.name.lower()}")
        text = self.job.answer.flush()
        return Finished(text, "stop" if self.job.answer.stopped else _REASONS[ended.reason])

    def _stop(self, engine: Engine) -> None:
        """End what is under way; a prompt that is being fed ends like a generation."""
        if not self._begun:
            engine.begin(self.number, 1, Sampling())
        engine.stop(self.number)
        self._begun = self._stopping = True
