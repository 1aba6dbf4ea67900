"""Every verb with each of its inputs broken in turn: one line, and nothing written."""

import os
from pathlib import Path

import numpy as np
import pytest

from firmware.models.chains import chain, following, write
from firmware.models.layouts import llama_json
from setun import cli

X = "X"  # the broken one
BOARD = ["--board", "icebreaker"]
IDS = ["--prompt-ids", "10", "-n", "1"]
LINES: dict[str, list[str]] = {
    "run, model": ["run", X, *IDS],
    "run, config": ["run", "M", *IDS, "--config", X],
    "run, numerics": ["run", "M", *IDS, "--numerics", X],
    "eval, model": ["eval", X, "--text", "TEXT", "--tokens", "5"],
    "eval, text": ["eval", "M", "--text", X, "--tokens", "5"],
    "logits, model": ["logits", X, "--ids", "IDS", "--backend", "float", "-o", "OUT"],
    "logits, ids": ["logits", "M", "--ids", X, "--backend", "float", "-o", "OUT"],
    "import, folder": ["import", X, "-o", "OUT"],
    "import, numerics": ["import", "M", "-o", "OUT", "--numerics", X],
    "inspect, image": ["inspect", X],
    "estimate, model": ["estimate", *BOARD, "--model", X],
    "estimate, config": ["estimate", *BOARD, "--set", "rows=0", "--config", X],
    "explore, model": ["explore", *BOARD, "--estimate-only", "--model", X, "-o", "OUT"],
    "explore, text": ["explore", *BOARD, "--model", "M", "--text", X, "-o", "OUT"],
    "train, text": ["train", "--text", X, "-o", "OUT"],
    "train, init": ["train", "--text", "TEXT", "--init", X, "-o", "OUT"],
    "generate, model": ["generate", "--model", X, "-o", "OUT"],
    "generate, config": ["generate", "--set", "rows=0", "--config", X, "-o", "OUT"],
    "build, model": ["build", *BOARD, "--model", X, "-o", "OUT"],
    "build, reuse": ["build", "--reuse", X, "--model", "M", "-o", "OUT"],
    "build, config": ["build", *BOARD, "--set", "rows=0", "--config", X, "-o", "OUT"],
    "load, model": ["load", X, "--port", "/nonexistent"],
    "flash, folder": ["flash", *BOARD, X],
    "bench, model": ["bench", "--model", X],
}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4cac19\nsize 1489\n"
WAYS = {
    "missing": lambda path: None,
    "a folder": Path.mkdir,
    "empty": Path.touch,
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 8),
    "a Git LFS pointer": lambda path: path.write_bytes(POINTER),
    "a loop of links": lambda path: path.symlink_to(path.name),
    "a device": lambda path: path.symlink_to("/dev/null"),
    "too long a name": lambda path: None,
}


# An empty file is TOML.
WITHOUT_OPTIONS = {(f"{verb}, numerics", "empty") for verb in ("run", "import")} | {
    ("run, config", way) for way in ("empty", "a device")
}
NO_FILE = "import, folder", "build, reuse", "flash, folder"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("inputs")
    write(folder / "model", *chain(following([10, 11]), 277), llama_json())
    np.save(folder / "ids.npy", np.arange(4))
    (folder / "text").write_text("a b c" * 20)
    names = {"M": "model", "IDS": "ids.npy", "TEXT": "text"}
    return {short: str(folder / name) for short, name in names.items()}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("line", LINES)
def test_inputs(
    line: str, way: str, places: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / ("n" * 300 if way == "too long a name" else "broken")
    WAYS[way](broken)
    before = os.listdir(tmp_path)
    names = places | {X: str(broken), "OUT": str(tmp_path / "out")}
    status = cli.run([names.get(word, word) for word in LINES[line]])
    shown = capsys.readouterr()
    if (line, way) in WITHOUT_OPTIONS:
        assert status == 0, shown.err
        return
    assert status in (1, 2) and shown.out == ""
    assert shown.err.startswith("setun: error: ") and shown.err.count("\n") == 1, shown.err
    assert os.listdir(tmp_path) == before
    if way == "a Git LFS pointer" and line not in ("train, text", "train, init", *NO_FILE):
        assert "found a Git LFS pointer, not the file itself (in the repository" in shown.err
