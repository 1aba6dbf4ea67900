"""A second architecture, from a checkpoint folder to simulated chips of both cores.

It is the one that `docs/adding-an-architecture.md` walks through, registered as the page says.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from bench.folders import ROOT, VECTORS
from firmware.models.tiny import TinyConfig, TinyMlgru
from firmware.models.tiny_reference import FloatModel
from front.backends.test_backends import chip_of_either
from hw.chip import test_small
from setun.backends import GoldenBackend, Sampling, SimulatedBackend
from setun.bench.account import shallow
from setun.cli import run
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image import file as image_file
from setun.firmware.image.image import Region
from setun.firmware.image.memory_layout import sized_for
from setun.firmware.models.architecture import find, names, register
from setun.firmware.models.checkpoint import load_checkpoint
from setun.firmware.program.verify import verify
from setun.models.load import load_model
from setun.models.random import random_checkpoint, random_image
from setun.sim.folded import FoldedModel
from setun.sim.golden import GoldenModel
from setun.sim.reference import float_model

PAGE = ROOT / "docs" / "adding-an-architecture.md"
CONFIG = TinyConfig(vocab_size=40, width=72, memory=56, depth=3, eps=1e-5)

register(TinyMlgru())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as a training program would leave it."""
    folder, tiny = tmp_path_factory.mktemp("models") / "tiny", find("tiny_mlgru")
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(tiny.config_fields(CONFIG)))
    tensors = random_checkpoint(tiny, CONFIG, seed=2).tensors
    save_file(dict(tensors), folder / "model.safetensors")
    return folder


def ids(rows: int = 8, length: int = 24) -> np.ndarray:
    return np.random.default_rng(4).integers(0, CONFIG.vocab_size, (rows, length))


def test_checkpoint_names_its_architecture(folder: Path) -> None:
    checkpoint = load_checkpoint(folder)
    assert checkpoint.architecture is find("tiny_mlgru") and checkpoint.config == CONFIG
    assert isinstance(float_model(checkpoint), FloatModel)
    assert load_checkpoint(VECTORS / "a_h64_l2").architecture is find("hgrn_bit")


def test_registered_once() -> None:
    assert {"hgrn_bit", "tiny_mlgru"} <= set(names())
    with pytest.raises(SetunError, match="once"):
        register(TinyMlgru())
    with pytest.raises(SetunError, match="did you mean tiny_mlgru"):
        find("tiny_mlgrus")


def test_shape_of_the_image(folder: Path) -> None:
    image = load_model(folder)
    verify(image, "image")
    assert image.name == "tiny" and image.vocab_size == CONFIG.vocab_size
    assert image.memory.vectors == (Region("x", 0, 72), Region("t", 128, 56))
    assert image.memory.state == tuple(Region(f"{n}", 64 * n, 56) for n in range(3))
    assert [layer.name for layer in image.layers] == ["0", "1", "2"]
    assert image.weights == find("tiny_mlgru").weights(CONFIG)


def test_folding_is_exact(folder: Path) -> None:
    checkpoint = load_checkpoint(folder)
    want = float_model(checkpoint).forward_batch(ids())
    got = FoldedModel(load_model(folder)).forward_batch(ids())
    # Random ids may put a code on a rounding tie, so a rare token may differ.
    close = np.abs(got - want).max(-1) < 1e-3 * want.std()
    assert close.mean() > 0.9 and close[:, 0].all()


def test_steps_are_the_batch(folder: Path) -> None:
    model, row = float_model(load_checkpoint(folder)), ids(1)[0]
    want = model.forward_batch(row[None])[0]
    for _ in range(2):
        got = np.stack([model.step(int(token)) for token in row])
        np.testing.assert_allclose(got, want, atol=1e-5)
        model.reset()


def test_golden_model_follows(folder: Path) -> None:
    want = float_model(load_checkpoint(folder)).forward_batch(ids())
    image = load_model(folder)
    model, got = GoldenModel(image, batch=len(want)), np.empty_like(want)
    for t in range(want.shape[1]):
        model.feed(ids()[:, t])
        got[:, t] = model.logits()
    assert 0.0 < np.sqrt(np.mean((got - want) ** 2)) < 0.05 * want.std()
    assert np.mean(got.argmax(-1) == want.argmax(-1)) > 0.9


def test_image_file_and_cut_model(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.setun"
    assert run(["import", str(folder), "-o", str(path), "--packing", "1.6b", "--json"]) == 0
    image = image_file.load(path)
    assert image.model_hash == load_model(folder).model_hash
    for layers in (1, 2, 3):
        verify(shallow(image, layers), "cut model")
    assert shallow(image, 3).program == image.program


def test_random_model() -> None:
    image = random_image((64, 2, 32), architecture=find("tiny_mlgru"))
    verify(image, "image")
    assert len(image.layers) == 2 and image.memory.state[1] == Region("1", 64, 32)


def chips() -> dict[str, ChipConfig]:
    """The large core and the small one, as other tests have compiled them."""
    return {"large": chip_of_either(), "small": test_small.config()}


@pytest.mark.parametrize("core", ["large", "small"])
def test_simulated_chip_equals_golden(folder: Path, core: str) -> None:
    config, image = chips()[core], load_model(folder)
    assert sized_for(image, config) != config, "a chip that was made for other models"
    golden = GoldenBackend(image, config.numerics)
    backend = SimulatedBackend(image, config)
    try:
        for sampling, least in ((Sampling(), 3), (Sampling(temperature=9.0, seed=5), 9)):
            got = list(backend.generate([3, 1, 4], 24, sampling))
            assert got == list(golden.generate([3, 1, 4], 24, sampling))
            assert len(set(got)) >= least
            state = backend.state()
            for region in image.memory.state:
                np.testing.assert_array_equal(state[region.slice], golden.model.state[region.slice])
    finally:
        backend.close()


def test_page_shows_the_code_that_is_tested() -> None:
    """Every block of Python of the page is a piece of these files, and they are whole on it."""
    blocks = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    here = Path(__file__).parent
    for name in ("tiny.py", "tiny_reference.py"):
        assert (here / name).read_text("utf-8") in blocks, name
    rest = Path(__file__).read_text("utf-8")
    files = [(here / name).read_text("utf-8") for name in ("tiny.py", "tiny_reference.py")]
    for block in blocks:
        assert block in files or block in rest, block
