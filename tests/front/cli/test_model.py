"""import, inspect, eval, logits: what they compute and what they refuse."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.folders import SMALL_DEMO, TEXT, VECTORS
from setun import models
from setun.cli import run
from setun.firmware.image import file as image_file
from setun.firmware.numerics.options import PRESETS, from_file
from setun.models.load import load_model, open_model
from setun.sim.golden import GoldenModel


def ok(capsys: pytest.CaptureFixture[str], *args: object) -> Any:
    """Run a verb with --json and return what it prints."""
    status = run([*map(str, args), "--json"])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    return json.loads(out)


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """Run a verb that must fail with one line and print nothing."""
    status = run([*map(str, args)])
    out, err = capsys.readouterr()
    assert status in (1, 2) and out == ""
    assert err.startswith("setun: error: ") and err.count("\n") == 1
    return err


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder with a tokenizer that runs fast."""
    folder = tmp_path_factory.mktemp("model") / "small"
    shutil.copytree(SMALL_DEMO, folder)
    return folder


@pytest.fixture
def image(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "m.setun"
    ok(capsys, "import", small, "-o", path)
    return path


@pytest.mark.parametrize("packing", ["2b", "1.6b"])
def test_import_then_inspect(
    small: Path, tmp_path: Path, packing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.setun"
    done = ok(capsys, "import", small, "-o", path, "--packing", packing)
    assert done["bytes"] == path.stat().st_size
    assert list(tmp_path.iterdir()) == [path]
    seen = ok(capsys, "inspect", path)
    assert seen["model_hash"] == done["model_hash"] == load_model(small).model_hash
    assert seen["weights"] == done["weights"] == load_model(path).weights
    assert seen["packing"] == packing
    assert seen["bits_per_weight"] == pytest.approx({"2b": 2.0, "1.6b": 1.658}[packing], abs=1e-3)
    assert seen["name"] == small.name and seen["format"] == 2 and seen["vocab_size"] == 65
    assert seen["numerics"]["vector"] == [8, 9]
    assert seen["vectors"][0] == {"name": "x", "start": 0, "size": 96}
    assert [r["name"] for r in seen["layers"]] == [f"model.layers.{k}" for k in range(4)]
    assert [r["start"] for r in seen["state"]] == [0, 128, 256, 384]
    assert seen["program"] == [str(i) for i in load_model(path).program]
    names = [s["name"] for s in seen["sections"]]
    assert names[:5] == ["program", "constants", "embedding", "gates", "tokenizer"]
    assert names[-1] == "lm_head"
    assert run(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert "model.layers.3.mlp.down_proj" in text and "token = sample(y[:65])" in text
    assert all(s["crc32"] in text for s in seen["sections"])


def test_import_is_deterministic_and_replaces(
    small: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "n.setun"
    other.write_bytes(b"old")
    ok(capsys, "import", small, "-o", other)
    assert other.read_bytes() == image.read_bytes()


def test_numerics_option(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, path = tmp_path / "n.toml", tmp_path / "m.setun"
    file.write_text("vector = [6, 7]\n")
    assert from_file(file).vector.width == 14
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())  # as Windows' editors write it
    assert from_file(file).vector.width == 14
    ok(capsys, "import", small, "-o", path, "--numerics", file)
    assert ok(capsys, "inspect", path)["numerics"]["vector"] == [6, 7]
    assert open_model(path).numerics == from_file(file)
    ids = tmp_path / "ids.npy"
    np.save(ids, np.arange(5))
    outs = {}
    for name, extra in {"own": [], "default": ["--numerics", "default"]}.items():
        outs[name] = tmp_path / f"{name}.npy"
        args = ["logits", path, "--ids", ids, "-o", outs[name], "--backend", "golden", *extra]
        ok(capsys, *args)
    model = GoldenModel(load_model(path), PRESETS["default"])
    for token in range(5):
        model.feed(token)
    np.testing.assert_array_equal(np.load(outs["default"])[-1], model.logits())
    assert not np.array_equal(np.load(outs["own"]), np.load(outs["default"]))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("speed = 9", "state_seed; found 'speed'"),
        ("vector = 9", "vector: must be bits of exponent and mantissa"),
        ("vector = [8, 9.0]", "vector: must be"),
        ("vector = [8, true]", "vector: must be"),
        ("vector = [8, 40]", "mantissa"),
        ("vector = [4, 9]", "vector exponent: must have 5 to 8 bits"),
        ("vector = [3, 9]", "vector exponent: must have"),
        ("vector = [", "must be a TOML file"),
        ("vector = [8, 9]\nvector = [8, 9]", "must be a TOML file"),
        ("x = " + "[" * 5000, "must be a TOML file"),
        (None, "presets: default"),
    ],
)
def test_bad_numerics(
    small: Path, tmp_path: Path, text: str | None, rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "n.toml"
    if text is not None:
        file.write_text(text)
    line = refused(capsys, "import", small, "-o", tmp_path / "m.setun", "--numerics", file)
    assert rule in line
    assert not (tmp_path / "m.setun").exists()


def test_bad_imports(
    small: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "m.setun"
    assert "must be writable" in refused(capsys, "import", small, "-o", out)
    assert "a checkpoint folder" in refused(capsys, "import", image, "-o", tmp_path / "x.setun")
    assert "--output" in refused(capsys, "import", small)
    assert "no config.json" in refused(capsys, "import", tmp_path, "-o", tmp_path / "x.setun")
    cut = tmp_path / "cut"
    shutil.copytree(small, cut)
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    line = refused(capsys, "import", cut, "-o", tmp_path / "x.setun")
    assert "must be a whole safetensors file" in line
    shutil.copy(small / "model.safetensors", weights)
    vocabulary = json.loads((cut / "tokenizer.json").read_text())
    vocabulary["model"]["vocab"]["ß"] = 65
    (cut / "tokenizer.json").write_text(json.dumps(vocabulary))
    line = refused(capsys, "import", cut, "-o", tmp_path / "x.setun")
    assert "below the model's vocab_size 65" in line
    assert {p.name for p in tmp_path.iterdir()} == {"cut", "m.setun"}


def test_damaged_images(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = image.read_bytes()
    text = tmp_path / "text.txt"
    text.write_text("First Citizen:\n" * 9)
    for damage in (data[:-1], data[: len(data) // 2], data[:100] + b"!" + data[101:], b"", b"\x93"):
        image.write_bytes(damage)
        for verb in (["inspect"], ["eval", "--text", text]):
            assert str(image) in refused(capsys, *verb, image)
    image.write_bytes(data)
    assert "no such path" in refused(capsys, "inspect", tmp_path / "none.setun")
    assert "must hold config.json or one GGUF" in refused(capsys, "inspect", tmp_path)


def test_eval_of_folder_and_image_agree(
    small: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--text", TEXT, "--tokens", 300, "--window", 64]
    folder, alone = (ok(capsys, "eval", m, *args) for m in (small, image))
    assert folder["golden"]["loss"] == alone["golden"]["loss"]
    assert folder["float"]["loss"] == pytest.approx(alone["float"]["loss"], abs=1e-3)
    assert 1.0 < folder["float"]["loss"] < 2.0
    assert abs(folder["loss_difference"]) < 0.02 and folder["top1_agreement"] > 0.95
    assert (folder["tokens"], folder["window"]) == (300, 64)
    held = ok(capsys, "eval", image, *args, "--held-out")
    assert held["golden"]["loss"] != alone["golden"]["loss"]
    assert run(["eval", str(image), *map(str, args)]) == 0
    assert "top-1 agreement" in capsys.readouterr().out


def test_eval_counts_exactly_what_was_asked(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A partial last window is scored as the tokens it has, each from its own past."""
    text = tmp_path / "t.txt"
    line = "To be, or not to be: that is the question"
    text.write_text(line)
    model = open_model(image)
    ids = model.tokenizer().encode(line)
    losses = []
    for t in range(20):
        if t % 8 == 0:
            golden = GoldenModel(model.image)
        golden.feed(ids[t])
        logits = golden.logits()
        losses.append(np.log(np.exp(logits).sum()) - logits[ids[t + 1]])
    args = ["--text", text, "--tokens", 20, "--window", 8]
    got = ok(capsys, "eval", image, *args)
    assert got["golden"]["loss"] == pytest.approx(float(np.mean(losses)), abs=1e-9)
    assert ok(capsys, "eval", image, "--text", text)["tokens"] == len(ids) - 1
    text.write_text(line * 50)  # long enough not to be encoded whole
    assert ok(capsys, "eval", image, *args)["golden"]["loss"] == got["golden"]["loss"]


def test_eval_refuses(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "t.txt"
    text.write_text("short")
    assert "needs 21 tokens" in refused(capsys, "eval", image, "--text", text, "--tokens", 20)
    text.write_text("a")
    assert "needs 2 tokens" in refused(capsys, "eval", image, "--text", text)
    text.write_text("naïve text")
    assert "U+00EF" in refused(capsys, "eval", image, "--text", text)
    text.write_bytes(b"\xff\xfe")
    assert "must be UTF-8" in refused(capsys, "eval", image, "--text", text)
    text.write_text("enough text")
    folder = VECTORS / "a_h64_l2"
    assert "tokenizer.json" in refused(capsys, "eval", folder, "--text", text)
    assert "--tokens" in refused(capsys, "eval", image, "--text", text, "--tokens", 0)
    assert "none.txt" in refused(capsys, "eval", image, "--text", tmp_path / "none.txt")


@pytest.mark.parametrize("name", ["a_h64_l2", "b_h128_l4", "d_h64_l3_nolb"])
def test_float_logits_are_upstreams(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, ids, out = VECTORS / name, tmp_path / "ids.npy", tmp_path / "out.npy"
    vectors, image = np.load(folder / "io.npz"), tmp_path / "m.setun"
    ok(capsys, "import", folder, "-o", image)
    for model in (folder, image):
        np.save(ids, vectors["input_ids"])
        ok(capsys, "logits", model, "--ids", ids, "-o", out, "--backend", "float")
        got = np.load(out)
        assert got.dtype == np.float32 and got.shape == (1, *vectors["logits"].shape)
        np.testing.assert_allclose(got[0], vectors["logits"], rtol=0, atol=1e-4)
    np.save(ids, vectors["input_ids"][0].astype(np.uint16))
    done = ok(capsys, "logits", folder, "--ids", ids, "-o", out, "--backend", "golden")
    assert done["shape"] == list(vectors["logits"].shape) == list(np.load(out).shape)
    golden = GoldenModel(load_model(folder))
    for t in range(4):
        golden.feed(int(vectors["input_ids"][0, t]))
        np.testing.assert_array_equal(np.load(out)[t], golden.logits())


def saved(values: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, **options)
    return buffer.getvalue()


def header(text: str) -> bytes:
    body = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (saved(np.array([0, 65])), "must be 0 to 64; found 65 at [1]"),
        (saved(np.array([[0, 1], [-3, 2]])), "found -3 at [1, 0]"),
        (saved(np.array([2**64 - 1], np.uint64)), "found 18446744073709551615"),
        (saved(np.array([0.0, 1.0])), "must be integers"),
        (saved(np.array([True])), "must be integers"),
        (saved(np.zeros((2, 2, 2), int)), "must be integers [T] or [B, T]; found int64 [2, 2, 2]"),
        (saved(np.int64(3)), "must be integers [T]"),
        (saved(np.zeros(0, int)), "must be"),
        (saved(np.array([1, None], object), allow_pickle=True), "whole .npy file of numbers"),
        (saved(np.arange(9))[:-1], "whole .npy file"),
        (saved(np.arange(9))[:40], "whole .npy file"),
        (b"", "must be a .npy file"),
        (b"PK\x03\x04rest", "must be a .npy file"),
        (b"\x80\x04pickle", "must be a .npy file"),
        (b"\x93NUMPY", "whole .npy file"),
        (header("{'descr': '<i8', 'fortran_order': False, 'shape': (10**3,)}"), "whole .npy file"),
        (header("{'descr': '<i8', 'fortran_order': False, 'shape': (9999999999999999,)}"), "whole"),
        (header("{'descr': '<i8', 'fortran_order': False, 'shape': (-5,)}"), "must be"),
        (header("{'descr': '<q9', 'fortran_order': False, 'shape': (5,)}"), "whole .npy file"),
        (header("{'descr': [('a', '<i8')], 'fortran_order': False, 'shape': (0,)}"), "must be"),
        (header("__import__('os')"), "whole .npy file"),
        (header("((((("), "whole .npy file"),
    ],
)
def test_bad_ids(
    small: Path, tmp_path: Path, data: bytes, rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ids, out = tmp_path / "ids.npy", tmp_path / "out.npy"
    ids.write_bytes(data)
    line = refused(capsys, "logits", small, "--ids", ids, "-o", out, "--backend", "float")
    assert rule in line
    assert list(tmp_path.iterdir()) == [ids]


def test_models_open_by_every_name(image: Path, small: Path) -> None:
    by_name = open_model("shakespeare")
    assert by_name.checkpoint is not None and by_name.path == models.find("shakespeare")
    assert open_model(image).checkpoint is None
    assert open_model(small).image.program == image_file.load(image).program


def test_demo_model_keeps_its_loss_on_the_chip(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The bars of the numeric contract, on more than 20,000 held-out characters."""
    path = tmp_path / "m.setun"
    ok(capsys, "import", "shakespeare", "-o", path)
    text = TEXT
    result = ok(capsys, "eval", path, "--text", text, "--held-out")
    assert result["tokens"] >= 20_000
    assert 1.3 < result["float"]["loss"] < 1.5
    assert abs(result["golden"]["loss"] - result["float"]["loss"]) <= 0.002
    assert result["top1_agreement"] >= 0.98
