"""Workers that come and go: a real scheduler, workers that die, one that has another Setun."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import pytest

from front.explore.machines import START_S, Machines
from setun.explore import run
from setun.explore.run import Workers
from setun.explore.work import Work, made_with
from setun.firmware.errors import SetunError
from setun.firmware.numerics.options import PRESETS
from setun.models.load import load_model
from setun.sim.evaluate import windows

SPACE = (
    "--board",
    "ulx3s-25f",
    "--estimate-only",
    "--vary",
    "columns=16",
    "--vary",
    "rows=2,4",
    "--vary",
    "lanes=1",
    "--vary",
    "contexts=1,2",
    "--vary",
    "pump=1",
)
TEXT = "ROMEO:\nWhat say you to the sea, my lord, and to the stars that shine on it?\n" * 60


def explore(folder: Path, *options: str) -> subprocess.Popen[str]:
    (folder / "text").write_text(TEXT)
    words = [*SPACE, "--text", str(folder / "text"), "--tokens", "100", "-o", str(folder / "out")]
    return subprocess.Popen(
        [sys.executable, "-m", "setun", "explore", *words, *options, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    found: dict[str, Any] = json.loads(out)
    del found["report"]
    return found


def kill_one_that_works(machines: Machines) -> list[str]:
    """Kill the first worker that holds a task, while it does; the keys of what it held."""
    with distributed.Client(machines.address) as client:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            for address, keys in client.processing().items():
                mine = [str(key) for key in keys if "estimate" in str(key)]
                if mine:
                    pid = client.run(os.getpid, workers=[address])[address]
                    (process,) = [p for p in machines.workers if p.pid == pid]
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    return mine
            time.sleep(0.005)
    pytest.fail("no worker ever had a task")


def test_a_worker_that_dies_takes_no_result_along(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    with Machines(tmp_path, 2) as machines:
        process = explore(tmp_path, "--scheduler", machines.address)
        held = kill_one_that_works(machines)
        there = told(process)
        assert sum(p.poll() is None for p in machines.workers) == 1
    here = told(explore(tmp_path / "here", "--jobs", "1"))
    assert held
    assert there["counts"]["estimated"] > 10 and there["float_loss"] > 0
    assert "open" not in there["counts"] and "failed" not in there["counts"]
    assert there == here
    names = [sorted(p.name for p in (tmp_path / f / "out/points").iterdir()) for f in (".", "here")]
    assert names[0] == names[1]


IMAGE = load_model("random-64x1")


def long_work() -> tuple[Work, tuple[Any, Any]]:
    """A loss that takes minutes, and its text."""
    tokens = 1_000_000
    text = windows(np.arange(tokens + 1) % IMAGE.vocab_size, 16, tokens)
    inputs = {
        "made_with": made_with("loss", ""),
        "numerics": PRESETS["default"].to_dict(),
        "text": str(time.monotonic_ns()),
        "model": "it",
    }
    return Work("loss", inputs), text


def until_it_works(address: str) -> None:
    """Return as soon as a worker has the long work."""
    with distributed.Client(address) as client:
        until = time.monotonic() + START_S
        while not any("loss" in str(k) for keys in client.processing().values() for k in keys):
            assert time.monotonic() < until
            time.sleep(0.05)


def started(address: str) -> tuple[threading.Thread, list[Any]]:
    """The long work under way, in a thread, and where its result or its error will be."""
    work, text = long_work()
    found: list[Any] = []

    def go() -> None:
        try:
            with Workers(address, 1, IMAGE, "ecp5", text=text) as workers:
                found.extend(workers.run([work]))
        except SetunError as error:
            found.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    until_it_works(address)
    return thread, found


def ended(thread: threading.Thread) -> None:
    thread.join(START_S)
    assert not thread.is_alive()


def test_what_may_become_of_a_scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no worker; one with another Setun; one that dies of its work; it dies itself."""
    monkeypatch.setattr(run, "POLL_S", 0.2)
    work = Work("estimate", {"made_with": {"sources": "other", "tools": {}}, "fpga": "ecp5"})
    with Machines(tmp_path, 0, deaths=0) as machines:
        with monkeypatch.context() as patch:
            patch.setattr(run, "WORKER_S", 0.5)
            with (
                pytest.raises(SetunError, match=r"must have a worker; found none for 0.5 s"),
                Workers(machines.address, 1, IMAGE, "ecp5") as workers,
            ):
                list(workers.run([work]))

        first = machines.start_worker()
        with (
            pytest.raises(SetunError, match=r"same Setun and tools; found another Setun"),
            Workers(machines.address, 1, IMAGE, "ecp5") as workers,
        ):
            list(workers.run([work]))

        thread, found = started(machines.address)
        first.kill()
        ended(thread)
        ((_, done),) = found
        assert done.result == {"failed": "its worker died, again and again"} and not done.final

        machines.start_worker()
        thread, found = started(machines.address)
        machines.scheduler.kill()
        ended(thread)
        (error,) = found
        assert isinstance(error, SetunError) and "must stay; found it went away" in str(error)
