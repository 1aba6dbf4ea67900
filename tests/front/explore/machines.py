"""A dask scheduler and its workers: real processes on loopback, each to be killed by its id."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

START_S = 120.0


class Machines:
    """A scheduler and `workers` workers without nannies, so that a worker's id is its process'.

    Parameters
    ----------
    deaths
        Workers that a task may outlive.

    Members
    -------
    address
        Of the scheduler.
    workers
        Processes, in the order of their start.
    """

    def __init__(self, folder: Path, workers: int, deaths: int = 3) -> None:
        self.folder, self.deaths = folder, deaths
        self.scheduler, self.workers = self._start_scheduler(), []
        for _ in range(workers):
            self.start_worker()

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        allowed = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(self.deaths)}
        with (self.folder / f"{words[0]}-{time.monotonic_ns()}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *words],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=os.environ | allowed,
            )

    def _start_scheduler(self) -> subprocess.Popen[bytes]:
        file = self.folder / "scheduler.json"
        process = self._start(
            "scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--no-jupyter",
            "--scheduler-file",
            str(file),
        )
        until = time.monotonic() + START_S
        while not file.exists() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.05)
        self.address: str = json.loads(file.read_text())["address"]
        return process

    def start_worker(self) -> subprocess.Popen[bytes]:
        """One more."""
        process = self._start(
            "worker",
            self.address,
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            "--host",
            "127.0.0.1",
            "--local-directory",
            str(self.folder),
        )
        self.workers.append(process)
        return process

    def __enter__(self) -> "Machines":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()
