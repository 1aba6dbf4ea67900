"""Child processes that never outlive the build that started them."""

import ctypes
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from types import TracebackType

from setun.firmware.errors import SetunError

GRACE_SECONDS = 3.0
WATCH_SECONDS = 2.0
Watch = Callable[[str], SetunError | None]
PR_SET_PDEATHSIG = 1
_prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None


class Ended(SetunError):
    """A tool's own end; `status` as `subprocess` has it, negative after a signal."""

    status = 0


class TookTooLong(SetunError):
    """A tool that was ended since it took longer than allowed."""


def _die_with_parent() -> None:
    """Ask Linux for this process' end when the thread that started it has gone.

    A program that is killed ends nobody. Where there is no such call, children end by themselves.
    """
    if _prctl is not None:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _last_error(log: Path) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()]
    errors = [line for line in lines if "ERROR" in line.upper()]
    return next(iter(reversed(errors or [line for line in lines if line])), "no output")


class Children:
    """Runs commands, from any thread; leaving the context ends those still running.

    Each child leads its own process group, so that an interrupt at the terminal reaches this
    program alone and it decides what ends.

    Parameters
    ----------
    limit_s
        Seconds that a command may take; None for as many as it likes.
    """

    def __init__(self, limit_s: float | None = None) -> None:
        self.limit_s = limit_s
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False
        self._lock = Lock()

    def __enter__(self) -> "Children":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def run(
        self,
        name: str,
        command: Sequence[str],
        *,
        cwd: Path,
        log: Path,
        watch: Watch = lambda text: None,
    ) -> None:
        """Run `command` in `cwd`, its output into the file `log`.

        What it has printed is given to `watch` now and then and at its end; an error that `watch`
        returns ends the command and is raised.

        Raises
        ------
        SetunError
            It could not be started; `Ended`: with another status than 0, the value is its last line
            that speaks of an error; `TookTooLong`: it was ended.
        """
        with log.open("wb") as output:
            with self._lock:
                if self._stopped:
                    raise SetunError(name, "must not start after the build was stopped")
                try:
                    child = subprocess.Popen(
                        command,
                        cwd=cwd,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                        preexec_fn=_die_with_parent,
                    )
                except OSError as error:
                    raise SetunError(name, "must start", error) from error
                self._running.add(child)
            try:
                status = self._wait(name, child, log, watch)
            finally:
                self._end(child)
        if status:
            ended = Ended(name, f"must succeed, ended with status {status}", _last_error(log))
            ended.status = status
            raise ended

    def _wait(self, name: str, child: subprocess.Popen[bytes], log: Path, watch: Watch) -> int:
        until = None if self.limit_s is None else time.monotonic() + self.limit_s
        while True:
            left = math.inf if until is None else until - time.monotonic()
            status = None
            try:
                status = child.wait(max(0.0, min(WATCH_SECONDS, left)))
            except subprocess.TimeoutExpired:
                if left <= WATCH_SECONDS:
                    raise TookTooLong(name, f"must end within {self.limit_s:g} s") from None
            wrong = watch(log.read_text("utf-8", "replace"))
            if wrong is not None:
                raise wrong
            if status is not None:
                return status

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        if child.poll() is None:
            self._signal(child, signal.SIGTERM)
            try:
                child.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self._signal(child, signal.SIGKILL)
                child.wait()
        with self._lock:
            self._running.discard(child)

    @staticmethod
    def _signal(child: subprocess.Popen[bytes], number: int) -> None:
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            return

    def stop(self) -> None:
        """End every child and refuse new ones."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for child in running:
            self._end(child)
