"""Whole runs on tiny sizes: the command's files, a kill and going on, refusals."""

import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
from setun.firmware.errors import SetunError
from setun.firmware.models.checkpoint import load_checkpoint
from setun.train.hgrn_bit import TrainedModel
from setun.train.loop import Trainer
from setun.train.recipe import Recipe
from setun.train.state import FILE, read_snapshot
from train.runs import TEXT, contents, train, train_command, write_text


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_text(tmp_path)


def test_run_leaves_a_model_that_learnt(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = json.loads(train(text, out, "--json", steps=60).stdout)
    checkpoint = load_checkpoint(out)
    assert checkpoint.config.hidden_size == 16 and checkpoint.config.intermediate_size == 24
    assert told["held_out_loss"] < 2.9 < 3.3  # ln 28, the loss of knowing nothing, is 3.33
    assert told["golden_loss"] == pytest.approx(told["held_out_loss"], abs=0.05)
    card = (out / "README.md").read_text()
    assert told["text_sha256"] in card and "setun train" in card
    assert f"{told['held_out_loss']:.4f}" in card and f"{told['golden_loss']:.4f}" in card
    assert (out / "losses.svg").read_text().startswith("<?xml")
    losses = read_snapshot(out).facts["progress"]["losses"]
    assert [row[0] for row in losses] == list(range(5, 61, 5))
    assert min(row[2] for row in losses) == told["held_out_loss"]


def test_a_folder_named_as_a_shipped_model_is_itself(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = [
        json.loads(train(text, Path(name), "--json").stdout)["golden_loss"]
        for name in ("shakespeare", "other")
    ]
    assert told[0] == told[1]


def test_steps_that_only_harm_leave_what_it_began_with(text: Path, tmp_path: Path) -> None:
    first, out = tmp_path / "first", tmp_path / "out"
    train(text, first, steps=40)
    told = json.loads(
        train(text, out, "--init", str(first), "--rate", "3", "--json", steps=10).stdout
    )
    before, after = load_checkpoint(first).tensors, load_checkpoint(out).tensors
    assert told["best_step"] == 0 and told["held_out_loss"] < told["held_out_loss_before"] + 0.01
    assert told["held_out_loss_before"] == told["float_loss_before"]
    assert all(np.array_equal(before[n], after[n]) for n in before if n != TrainedModel.head)
    assert min(row[2] for row in read_snapshot(out).facts["progress"]["losses"]) > 2


def test_equal_runs_are_equal_and_seeds_differ(text: Path, tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        train(text, tmp_path / name, "--seed", seed)
    models = [contents(tmp_path / name)["model.safetensors"] for name in "abc"]
    assert models[0] == models[1] != models[2]


def without_speed(folder: Path) -> list[list[float]]:
    return [row[:3] for row in read_snapshot(folder).facts["progress"]["losses"]]


def test_killed_and_gone_on_with_is_as_never_killed(text: Path, tmp_path: Path) -> None:
    """SIGKILL at moments spread over the run, then once more to the end: every bit the same."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(text, whole, steps=200)
    for number in range(3):
        resume = ["--resume"] if (killed / FILE).exists() else []
        command = train_command(text, killed, "--steps", "200", *resume)
        child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        seen = (killed / FILE).stat().st_mtime_ns if resume else 0
        limit = time.monotonic() + 60
        while child.poll() is None and time.monotonic() < limit:
            if (killed / FILE).exists() and (killed / FILE).stat().st_mtime_ns != seen:
                break
            time.sleep(0.01)
        time.sleep(0.013 * number)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    train(text, killed, "--resume", steps=200)
    assert contents(whole)["model.safetensors"] == contents(killed)["model.safetensors"]
    first, second = read_snapshot(whole), read_snapshot(killed)
    assert first.tensors.keys() == second.tensors.keys()
    assert all(bool((first.tensors[n] == second.tensors[n]).all()) for n in first.tensors)
    assert without_speed(whole) == without_speed(killed)


def test_interrupt_writes_the_run(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = train_command(text, out, "--steps", "100000")
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 60
    while not (out / "config.json").exists() and time.monotonic() < limit:  # an evaluation
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    # The line's end before it is for the ^C that a terminal shows.
    assert (child.returncode, said.strip()) == (130, "setun: error: interrupted")
    assert read_snapshot(out).facts["progress"]["step"] > 0


def test_a_full_disk_loses_nothing(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file may grow from the second evaluation on: one line; going on ends as ever."""
    whole, full = tmp_path / "whole", tmp_path / "full"
    train(text, whole)
    usual, evaluate, count = resource.getrlimit(resource.RLIMIT_FSIZE), Trainer.evaluate, 0

    def fill(self: Trainer) -> float:
        nonlocal count
        count += 1
        if count == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, usual[1]))
        return evaluate(self)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "evaluate", fill)
        try:
            done = train(text, full, check=False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "must be writable; found File too large" in done.stderr
    assert read_snapshot(full).facts["progress"]["step"] == 5
    assert not [path for path in full.iterdir() if path.suffix == ".tmp"]
    train(text, full, "--resume")
    assert contents(full)["model.safetensors"] == contents(whole)["model.safetensors"]
    assert without_speed(full) == without_speed(whole)


def test_no_room_at_the_start(text: Path, tmp_path: Path) -> None:
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, usual[1]))
        done = train(text, tmp_path / "out", check=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert done.returncode == 1 and f"{FILE}: must be writable" in done.stderr
    assert not list((tmp_path / "out").iterdir())
    train(text, tmp_path / "out")  # and again, when there is some


def test_refusals_lose_nothing(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(text, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for more, said in (
        ((), "must hold no run"),
        (("--resume", "--seed", "9"), "options: must be the run's; found seed 9, not 1 ("),
        (("--resume", "--dropout", "2"), "dropout: must be from 0 to 0.9"),
    ):
        done = train(text, out, *more, check=False)
        assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1
    text.write_text(TEXT + "more")
    done = train(text, out, "--resume", check=False)
    assert done.returncode == 1 and "text: must be the run's" in done.stderr
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    assert "must hold no other model" in train(text, other, check=False).stderr


@pytest.mark.parametrize("damage", [b"", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0{}"])
def test_damaged_run_is_one_line(text: Path, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE).write_bytes(damage)
    with pytest.raises(SetunError, match="must be what setun train wrote"):
        read_snapshot(tmp_path)


def test_recipe_survives_json_and_refuses_others() -> None:
    recipe = Recipe(hidden=24, rate=1e-3)
    assert Recipe.from_json(recipe.to_json()) == recipe
    for other in ("", "[]", '{"height": 3}', '{"steps": 0}'):
        with pytest.raises(SetunError):
            Recipe.from_json(other)


def test_rate_rises_and_falls() -> None:
    recipe = Recipe(steps=100, warmup=10, rate=1.0, final=0.1)
    rates = [recipe.rate_at(step) for step in range(100)]
    assert rates[:10] == pytest.approx([k / 10 for k in range(1, 11)])
    kept = [Recipe(average=10).kept_at(step) for step in range(200)]
    assert kept == sorted(kept) and kept[0] == 0.1 and kept[-1] == 0.5**0.1
    assert rates[10] == 1 and rates[-1] == pytest.approx(0.1, abs=0.001)
    assert rates[10:] == sorted(rates[10:], reverse=True)
