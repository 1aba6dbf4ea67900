"""Transformers on the command line: computed in float, and refused where a chip is meant."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from bench.folders import BITNET, TEXT
from firmware.models.layouts import llama_json
from front.cli.test_model import ok, refused
from setun.cli import run
from setun.firmware.models.architecture import find
from setun.models.random import random_checkpoint

FOLDERS = sorted(BITNET.glob("*_*"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_logits(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    io = np.load(folder / "io.npz")
    np.save(tmp_path / "ids.npy", io["input_ids"])
    out = tmp_path / "out.npy"
    args = ("logits", folder, "--ids", tmp_path / "ids.npy", "-o", out, "--backend", "float")
    done = ok(capsys, *args)
    assert len(done["model_hash"]) == 24 and done["shape"] == list(io["logits"].shape)
    np.testing.assert_allclose(np.load(out), io["logits"], rtol=0, atol=1e-4)
    ok(capsys, *args[:-1], "golden")
    off = np.sqrt(np.mean((np.load(out) - io["logits"]) ** 2)) / io["logits"].std()
    assert 0.0 < off < 0.25


def test_an_image_runs_on_the_golden_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, path = BITNET / "b_h128_l3_relu2", tmp_path / "m.setun"
    done = ok(capsys, "import", folder, "-o", path)
    assert (done["layers"], done["head"]) == (3, "5t")
    asked = ("--prompt-ids", "3,1,4", "-n", "6")
    found = [ok(capsys, "run", model, *asked) for model in (folder, path)]
    assert found[0]["tokens"] == found[1]["tokens"] and len(found[0]["tokens"]) == 6
    assert (found[0]["reason"], found[0]["positions_left"]) == ("count", 4087)
    seen = ok(capsys, "inspect", path)
    assert seen["model_hash"] == done["model_hash"]
    assert run(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert "attention(v[128:+128], c[0], c[+32]) heads=16" in text
    assert "v[128:+384] = y*relu(v[128])^2" in text


def test_eval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model with a tokenizer, written as a training program would leave it."""
    family = find("bitnet")
    config = replace(family.sized(277, 64, 2, 128), max_position_embeddings=64)
    save_file(
        dict(random_checkpoint(family, config, seed=4).tensors), tmp_path / "model.safetensors"
    )
    (tmp_path / "config.json").write_text(json.dumps(family.config_fields(config)))
    (tmp_path / "tokenizer.json").write_text(llama_json())
    args = ("eval", tmp_path, "--text", TEXT, "--tokens", "128", "--window")
    done = ok(capsys, *args, "64")
    assert 0.0 < abs(done["loss_difference"]) < 0.1 and done["top1_agreement"] > 0.7
    assert "context: holds 64 tokens, as many as there are" in refused(capsys, *args, "65")


def test_what_a_core_lacks_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Attention, on the small core."""
    line = refused(capsys, "estimate", "--board", "icebreaker", "--model", FOLDERS[0])
    assert "the small core has units for; found ROTATE (setun run --backend golden" in line
    args = "estimate", "--board", "ulx3s-85f", "--model", FOLDERS[0], "--set", "positions=128"
    chip = ok(capsys, *args)["config"]
    assert (chip["attention"], chip["positions"]) == (16, 128)
    assert not any(tmp_path.iterdir())


def test_weights_alone_are_ternary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The float reference keeps float inputs; a program quantises them."""
    fields = json.loads((FOLDERS[-1] / "config.json").read_text())
    fields["quantization_config"]["input_bits"] = None
    folder = tmp_path / "floats"
    shutil.copytree(FOLDERS[-1], folder)
    (folder / "config.json").write_text(json.dumps(fields))
    ok(capsys, "import", folder, "-o", tmp_path / "m.setun")
    assert ok(capsys, "inspect", folder)["lacking"] == ""
    np.save(tmp_path / "ids.npy", np.arange(4))
    args = ("logits", folder, "--ids", tmp_path / "ids.npy", "-o", tmp_path / "o.npy", "--backend")
    ok(capsys, *args, "float")
    ok(capsys, *args, "golden")


@pytest.mark.parametrize("path", sorted((BITNET / "gguf").glob("*.gguf")), ids=lambda p: p.stem)
def test_gguf(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twin = next(folder for folder in FOLDERS if folder.name[0] == path.name[0])
    io = np.load(twin / "io.npz")
    np.save(tmp_path / "ids.npy", io["input_ids"])
    out = tmp_path / "out.npy"
    ok(capsys, "logits", path, "--ids", tmp_path / "ids.npy", "-o", out, "--backend", "float")
    np.testing.assert_allclose(np.load(out), io["logits"], rtol=0, atol=1e-4)
    done = ok(capsys, "import", path, "-o", tmp_path / "m.setun")
    assert done["head"] == "5t"
    seen = ok(capsys, "inspect", path)
    assert (seen["format"], seen["family"], seen["name"]) == ("GGUF", "bitnet", path.stem)
    kinds = {tensor["type"] for tensor in seen["tensors"]}
    assert path.stem.split(".")[-1] in kinds and seen["lacking"] == ""


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
    assert "on a chip                yes" in text
    assert run(["inspect", "shakespeare"]) == 0
    text = capsys.readouterr().out
    assert "on a chip                yes" in text and "hgrn_bit: MatMul-free LM" in text
