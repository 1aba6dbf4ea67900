"""Numerics-aware training: the forward pass is the golden model's, the gradient goes through."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from setun.firmware.checkpoint import load_checkpoint  # noqa: E402
from setun.firmware.errors import SetunError  # noqa: E402
from setun.firmware.numerics import PRESETS, Numerics  # noqa: E402
from setun.models.load import open_model  # noqa: E402
from setun.sim.evaluate import golden_logits  # noqa: E402
from setun.train.chip import chip_values, taking_over  # noqa: E402
from setun.train.loop import Trainer  # noqa: E402
from setun.train.model import HgrnBit  # noqa: E402
from setun.train.recipe import Recipe  # noqa: E402
from setun.train.state import read_snapshot  # noqa: E402
from setun.train.text import prepare  # noqa: E402

from .runs import train, write_text  # noqa: E402

SHIPPED = Path(__file__).parents[2] / "setun" / "models" / "shakespeare-small"


@pytest.fixture(scope="module")
def model():
    checkpoint = load_checkpoint(SHIPPED)
    built = HgrnBit(checkpoint.config)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            parameter.copy_(torch.from_numpy(np.array(checkpoint.tensors[name])))
    return built


@pytest.mark.parametrize("preset", PRESETS)
def test_logits_are_the_golden_models(model, preset: str) -> None:
    """Every bit, and at every place what is taken over is near what float32 makes of the same."""
    numerics = PRESETS[preset]
    ids = torch.randint(65, (4, 9), generator=torch.Generator().manual_seed(4))
    values = chip_values(model, ids, numerics, seed=numerics.state_seed)
    take, far = taking_over(values), {}

    def watched(name, x, unit):
        out = take(name, x, unit)
        far[name] = float((out - x).detach().norm() / out.detach().norm())
        return out

    logits = model(ids, watched)
    expected = golden_logits(open_model(SHIPPED).image, numerics, ids.numpy())
    assert np.array_equal(logits.detach().numpy(), expected)
    assert far.keys() == values.keys()
    bound = 0.01 if preset in ("default", "stochastic") else 0.2
    assert 0 < max(far.values()) < bound


def test_gradients_go_straight_through(model) -> None:
    """In the default numerics they are nearly those of float32; every parameter has one."""
    ids = torch.randint(65, (4, 9), generator=torch.Generator().manual_seed(5))
    take = taking_over(chip_values(model, ids, Numerics()))
    found = []
    for logits in (model(ids), model(ids, take)):
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten())
        found.append(torch.autograd.grad(loss, list(model.parameters())))
    ours, theirs = (torch.cat([g.flatten() for g in gradients]) for gradients in found)
    assert torch.cosine_similarity(ours, theirs, dim=0) > 0.99
    assert all(bool(g.abs().max() > 0) for g in found[1])


def test_noise_of_the_state_follows_the_seed(model) -> None:
    ids = torch.randint(65, (2, 5), generator=torch.Generator().manual_seed(6))
    one, same, other = (
        chip_values(model, ids, PRESETS["stochastic"], seed)["lm_head"] for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_goes_on_from_a_model_in_the_chips_numerics(tmp_path: Path) -> None:
    """A run that begins with another's weights: its sizes, losses by the golden model, a card that
    tells before and after; going on with it needs the same."""
    text, first, out = write_text(tmp_path), tmp_path / "first", tmp_path / "out"
    train(text, first, steps=40)
    more = ("--dropout", "0", "--init", str(first), "--numerics", "all-four", "--json")
    told = json.loads(train(text, out, *more, steps=10).stdout)
    assert told["golden_loss"] <= told["golden_loss_before"] + 1e-6  # at worst what it began with
    assert told["held_out_loss"] == pytest.approx(told["golden_loss"], abs=1e-6)
    card = (out / "README.md").read_text()
    assert f"{told['golden_loss_before']:.4f}" in card and "lmul" in card
    ran, head = read_snapshot(out), load_checkpoint(first).tensors["lm_head.weight"]
    assert len(ran.facts["progress"]["losses"]) == 2
    assert not np.array_equal(ran.tensors["model.lm_head.weight"].numpy(), head)
    refused = train(text, out, "--resume", "--dropout", "0", steps=10, check=False)
    assert refused.returncode == 1 and "options: must be the run's" in refused.stderr


def test_a_model_has_nothing_to_learn_from_itself(tmp_path: Path) -> None:
    """Distillation: no gradient where student and teacher are one, some for a chip's numerics."""
    text, first = write_text(tmp_path), tmp_path / "first"
    train(text, first, "--calibrate", "0")
    checkpoint = load_checkpoint(first)
    ids = prepare(text, "char", 1024, 16)
    recipe = Recipe(hidden=16, layers=2, intermediate=24, context=16, batch=4, calibrate=0)
    sizes = []
    for numerics in (None, Numerics(activation="fp8").to_dict()):
        trainer = Trainer(replace(recipe, numerics=numerics), ids)
        trainer.begin_with(checkpoint)
        for teacher in (False, True):
            if teacher:
                trainer.learn_from(checkpoint)
            trainer.model.zero_grad()
            trainer._loss(
                torch.from_numpy(ids.train[:68].reshape(4, 17).astype(np.int64))
            ).backward()
            grads = [p.grad for p in trainer.model.parameters() if p.grad is not None]
            sizes.append(max(float(g.abs().max()) for g in grads))
    assert sizes[1] < 1e-5 * sizes[0] < sizes[3] < sizes[2]


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(SetunError, match="dropout: must be 0 with the chip's numerics"):
        Recipe(numerics=Numerics().to_dict(), dropout=0.1)
    text, first = write_text(tmp_path), tmp_path / "first"
    train(text, first)
    for more, said in (
        (("--init", str(tmp_path / "none")), "none"),
        (("--init", str(first), "--layers", "3"), "sizes: must be those"),
    ):
        done = train(text, tmp_path / "out", *more, check=False)
        assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1
    text.write_text(text.read_text() + "é" * 40)
    done = train(text, tmp_path / "out", "--init", str(first), check=False)
    assert done.returncode == 1 and "U+00E9" in done.stderr and done.stderr.count("\n") == 1
