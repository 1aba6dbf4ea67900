"""Transformers on the command line: computed in float, and refused where a chip is meant."""

from pathlib import Path

import numpy as np
import pytest

from bench.folders import BITNET, TEXT
from front.cli.test_model import ok, refused

FOLDERS = sorted(BITNET.glob("*_*"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_logits(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    io = np.load(folder / "io.npz")
    np.save(tmp_path / "ids.npy", io["input_ids"])
    out = tmp_path / "out.npy"
    args = ("logits", folder, "--ids", tmp_path / "ids.npy", "-o", out, "--backend", "float")
    done = ok(capsys, *args)
    assert done["model_hash"] is None and done["shape"] == list(io["logits"].shape)
    np.testing.assert_allclose(np.load(out), io["logits"], rtol=0, atol=1e-4)


def test_what_needs_a_chip_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = FOLDERS[0]
    np.save(tmp_path / "ids.npy", np.arange(4))
    before = set(tmp_path.iterdir())
    for args in (
        ("import", folder, "-o", tmp_path / "m.setun"),
        ("generate", "-o", tmp_path / "out", "--model", folder),
        ("run", folder, "--prompt-ids", "1", "-n", "1"),
        ("estimate", "--board", "ulx3s-85f", "--model", folder),
        ("build", "--board", "ulx3s-85f", "-o", tmp_path / "out", "--model", folder),
        ("eval", folder, "--text", TEXT),
        (
            "logits",
            folder,
            "--ids",
            tmp_path / "ids.npy",
            "-o",
            tmp_path / "o",
            "--backend",
            "golden",
        ),
    ):
        line = refused(capsys, *args)
        assert "must need only what a chip does; found attention, RoPE, a cache" in line, args
    assert set(tmp_path.iterdir()) == before
