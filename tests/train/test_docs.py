"""Commands of the page about training, at a reader's sizes but for a few steps."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.folders import ROOT
from docs import pages
from docs.runners import TRAIN, runner
from docs.test_docs import run

pytest.importorskip("torch")
PAGE = ROOT / "docs" / "train.md"
SHORT = ("--steps", "2", "--every", "2", "--batch", "2", "--context", "16")


@pytest.mark.slow
def test_commands_of_the_page(tmp_path: Path) -> None:
    here = [c for c in pages.blocks(PAGE) if runner(c) == TRAIN]
    assert len(here) >= 3
    for command in here:
        if "--init" in command.words:
            command = replace(command, text=" ".join([*command.words, *SHORT]))
        run(command, tmp_path)


def test_speed_is_told(tmp_path: Path) -> None:
    """`python -m setun.train.speed`: a line for each way, all quicker than none."""
    options = ("--batch", "2", "--context", "8", "--seconds", "0", "--json")
    done = subprocess.run(
        [sys.executable, "-m", "setun.train.speed", *options],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    assert '"loop over tokens"' in done.stdout


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "setun.train.speed", "--device", "cuda"]
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "device: must be here" in done.stderr and "cuda" in done.stderr
