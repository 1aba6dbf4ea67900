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

from explore.machines import START_S, Machines
from setun.explore import run
from setun.explore.evaluation import Done
from setun.explore.run import Workers
from setun.explore.work import Work, made_with
from setun.firmware.errors import SetunError
from setun.firmware.numerics import PRESETS
from setun.models.load import load_model
from setun.sim.evaluate import windows

SPACE = ("--board", "ulx3s-25f", "--estimate-only", "--vary", "columns=16", "--vary", "rows=2,4",
         "--vary", "lanes=1,2")  # fmt: skip
TEXT = "ROMEO:\nWhat say you to the sea, my lord, and to the stars that shine on it?\n" * 60


def explore(folder: Path, *options: str) -> subprocess.Popen[str]:
    (folder / "text").write_text(TEXT)
    words = [*SPACE, "--text", str(folder / "text"), "--tokens", "300", "-o", str(folder / "out")]
    return subprocess.Popen(
        [sys.executable, "-m", "setun", "explore", *words, *options, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, error = process.communicate(timeout=300)
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


def loss_work(image: Any, tokens: int) -> tuple[Work, tuple[Any, Any]]:
    """A loss that takes a while."""
    ids = np.arange(tokens + 1) % image.config.vocab_size
    text = windows(ids, 16, tokens)
    inputs = {
        "made_with": made_with("loss", ""), "numerics": PRESETS["default"].to_dict(),
        "text": f"{tokens}", "model": "it",
    }  # fmt: skip
    return Work("loss", inputs), text


def test_a_scheduler_that_dies_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "POLL_S", 0.2)
    image = load_model("random-64x1")
    work, text = loss_work(image, 1_000_000)
    with Machines(tmp_path, 1) as machines:
        ended: list[Any] = []

        def go() -> None:
            try:
                with Workers(machines.address, 1, image, "ecp5", text=text) as workers:
                    ended.extend(workers.run([work]))
            except SetunError as error:
                ended.append(error)

        thread = threading.Thread(target=go)
        thread.start()
        with distributed.Client(machines.address) as client:
            while not any(client.processing().values()):
                time.sleep(0.05)
        machines.scheduler.kill()
        thread.join(60)
        assert not thread.is_alive()
    assert isinstance(ended[0], SetunError) and "must stay" in str(ended[0])


def test_work_that_kills_its_workers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When more have died of it than dask allows; that is no result."""
    monkeypatch.setattr(run, "POLL_S", 0.2)
    image = load_model("random-64x1")
    work, text = loss_work(image, 1_000_000)
    found: list[tuple[Work, Done]] = []
    with Machines(tmp_path, 1, deaths=0) as machines:

        def go() -> None:
            with Workers(machines.address, 1, image, "ecp5", text=text) as workers:
                found.extend(workers.run([work]))

        thread = threading.Thread(target=go)
        thread.start()
        with distributed.Client(machines.address) as client:
            until = time.monotonic() + START_S
            while time.monotonic() < until and not any(
                "loss" in str(key) for keys in client.processing().values() for key in keys
            ):
                time.sleep(0.05)
            machines.workers[0].kill()
        thread.join(60)
        assert not thread.is_alive()
    ((_, done),) = found
    assert done.result == {"failed": "its worker died, again and again"} and not done.final


def test_a_scheduler_without_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "WORKER_S", 0.5)
    with Machines(tmp_path, 0) as machines:
        workers = Workers(machines.address, 1, load_model("random-64x1"), "ecp5")
        with pytest.raises(SetunError, match=r"must have a worker; found none for 0.5 s"), workers:
            list(workers.run([Work("estimate", {})]))


def test_a_worker_with_another_setun_is_refused(tmp_path: Path) -> None:
    image = load_model("random-64x1")
    work = Work("estimate", {"made_with": {"sources": "other", "tools": {}}, "fpga": "ecp5"})
    with (
        pytest.raises(SetunError, match=r"must have the same Setun and tools; found another"),
        Workers(None, 1, image, "ecp5") as workers,
    ):
        list(workers.run([work]))
