"""Transformers on the command line: computed in float, and refused where a chip is meant."""

from pathlib import Path

import numpy as np
import pytest

from bench.folders import BITNET, TEXT
from front.cli.test_model import ok, refused
from setun.cli import run

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


@pytest.mark.parametrize("path", sorted((BITNET / "gguf").glob("*.gguf")), ids=lambda p: p.stem)
def test_gguf(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twin = next(folder for folder in FOLDERS if folder.name[0] == path.name[0])
    io = np.load(twin / "io.npz")
    np.save(tmp_path / "ids.npy", io["input_ids"])
    out = tmp_path / "out.npy"
    ok(capsys, "logits", path, "--ids", tmp_path / "ids.npy", "-o", out, "--backend", "float")
    np.testing.assert_allclose(np.load(out), io["logits"], rtol=0, atol=1e-4)
    assert "found attention, RoPE" in refused(capsys, "import", path, "-o", tmp_path / "m.setun")
    seen = ok(capsys, "inspect", path)
    assert (seen["format"], seen["family"], seen["name"]) == ("GGUF", "bitnet", path.stem)
    kinds = {tensor["type"] for tensor in seen["tensors"]}
    assert path.stem.split(".")[-1] in kinds and seen["lacking"].startswith("attention")


def test_inspect(capsys: pytest.CaptureFixture[str]) -> None:
    folder = BITNET / "l_h128_l2_llama_bitlinear"
    seen = ok(capsys, "inspect", folder)
    assert seen["format"] == "safetensors" and seen["weights"] == 344_064
    assert seen["config"]["scale_divides"] and seen["config"]["num_key_value_heads"] == 2
    q = next(t for t in seen["tensors"] if t["name"].endswith("0.self_attn.q_proj.weight"))
    assert (q["type"], q["shape"]) == ("U8", [128, 128])
    assert run(["inspect", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "safetensors, 21 BF16, 14 U8" in text and "model.norm.weight" in text
    assert "on a chip                no: lacking attention" in text
    assert run(["inspect", "shakespeare"]) == 0
    text = capsys.readouterr().out
    assert "on a chip                yes" in text and "hgrn_bit: MatMul-free LM" in text
