"""Child processes that never outlive the build that started them."""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from types import TracebackType

from setun.firmware.errors import SetunError

GRACE_SECONDS = 3.0


def _last_error(log: Path) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()]
    errors = [line for line in lines if "ERROR" in line.upper()]
    return next(iter(reversed(errors or [line for line in lines if line])), "no output")


class Children:
    """Runs commands, from any thread; leaving the context ends those still running.

    Each child leads its own process group, so that an interrupt at the terminal reaches this
    program alone and it decides what ends.
    """

    def __init__(self) -> None:
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

    def run(self, name: str, command: Sequence[str], *, cwd: Path, log: Path) -> None:
        """Run `command` in `cwd`, its output into the file `log`.

        Raises
        ------
        SetunError
            It could not be started, or it ended with another status than 0; the value is its
            last line that speaks of an error.
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
                    )
                except OSError as error:
                    raise SetunError(name, "must start", error) from error
                self._running.add(child)
            try:
                status = child.wait()
            finally:
                self._end(child)
        if status:
            raise SetunError(name, f"must succeed, ended with status {status}", _last_error(log))

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
