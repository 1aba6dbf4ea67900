"""Runs of the command on tiny sizes."""

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from setun.cli import run

TEXT = "the quick brown fox jumps over the lazy dog. " * 60
SHAPE = ("--hidden", "16", "--layers", "2", "--intermediate", "24")
TINY = (
    "--context",
    "16",
    "--batch",
    "4",
    "--every",
    "5",
    "--dropout",
    "0.1",
    "--average",
    "4",
    "--warmup",
    "2",
)


def write_text(folder: Path) -> Path:
    """A file with `TEXT`."""
    file = folder / "text.txt"
    file.write_text(TEXT)
    return file


def train_command(text: Path, out: Path, *more: str) -> list[str]:
    """The command line; `more` options win over the tiny ones."""
    shape = () if {"--init", "--board"} & set(more) else SHAPE
    start = [sys.executable, "-m", "setun", "train", "--text", str(text), "-o", str(out)]
    return [*start, *shape, *TINY, *more]


@dataclass
class Done:
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


def train(text: Path, out: Path, *more: str, check: bool = True, steps: int = 20) -> Done:
    """Run it to its end, in this process: PyTorch takes seconds to load."""
    words = train_command(text, out, "--steps", str(steps), *more)[2:]
    with (
        mock.patch.object(sys, "argv", words),
        contextlib.redirect_stdout(io.StringIO()) as told,
        contextlib.redirect_stderr(io.StringIO()) as said,
    ):
        done = Done(run(words[1:]), told.getvalue(), said.getvalue())
    assert not check or done.returncode == 0, done.stderr
    return done


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of the weights and the run."""
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
