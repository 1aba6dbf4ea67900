"""Training beside the CPU: nothing is left behind on it, and a run goes on where it stopped."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
import torch

from setun.firmware.numerics.options import PRESETS
from setun.train import loop
from setun.train.loop import Progress, Trainer
from setun.train.recipe import Recipe
from setun.train.state import read_snapshot
from setun.train.text import Text, prepare
from train.elsewhere import There, elsewhere
from train.runs import write_text

RECIPE = Recipe(
    hidden=16,
    layers=2,
    intermediate=24,
    context=16,
    batch=4,
    steps=6,
    every=3,
    warmup=2,
    average=4.0,
)


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def matmul(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    monkeypatch.setattr(loop, "matmul_type", lambda device: request.param)
    return request.param


@pytest.fixture
def text(tmp_path: Path) -> Text:
    return prepare(write_text(tmp_path), "char", 0, RECIPE.context)


def trained(trainer: Trainer, folder: Path, stop: int = RECIPE.steps) -> list[list[float]]:
    """Losses of a run, interrupted after `stop` steps."""

    def interrupt(progress: Progress) -> None:
        if progress.step == stop < RECIPE.steps:
            raise KeyboardInterrupt

    folder.mkdir(exist_ok=True)
    try:
        loop.run(trainer, folder, lambda: None, interrupt)
    except KeyboardInterrupt:
        assert trainer.progress.step == stop
    return [row[:3] for row in trainer.progress.losses]


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_run_and_one_gone_on_with(
    matmul: torch.dtype, text: Text, tmp_path: Path, dropout: float
) -> None:
    recipe = replace(RECIPE, dropout=dropout)
    with elsewhere() as device:
        trainer = Trainer(recipe, text, device)
        losses = trained(trainer, tmp_path / "whole")
        assert all(isinstance(p, There) for p in trainer.model.parameters())
        assert all(isinstance(t, There) for t in trainer.weights().values())
        trained(Trainer(recipe, text, device), tmp_path / "cut", stop=4)
        again = Trainer(recipe, text, device)
        again.restore(read_snapshot(tmp_path / "cut"))
        assert trained(again, tmp_path / "cut") == losses
        wholly, gone_on = trainer.weights(), again.weights()
        for name, value in wholly.items():
            assert torch.equal(value, gone_on[name]), name
    here = Trainer(recipe, text)
    there = trained(here, tmp_path / "here")
    # On a CPU sums of codes are exact; elsewhere bfloat16 rounds them, and runs go apart.
    bound = 1e-4 if matmul == torch.float32 else 0.1
    for far, near in zip(losses, there, strict=True):
        assert far == pytest.approx(near, rel=bound)


def test_a_loss_is_the_models_not_the_devices(matmul: torch.dtype, text: Text) -> None:
    recipe = replace(RECIPE, average=0.0)
    here = Trainer(recipe, text)
    here.step()
    with elsewhere() as device:
        trainer = Trainer(recipe, text, device)
        trainer.restore(here.snapshot())
        there = [*trainer.losses_as_given(), trainer.evaluate(), trainer.progress.scale]
    expected = [*here.losses_as_given(), here.evaluate(), here.progress.scale]
    assert there == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_with_the_chips_numerics(name: str, text: Text) -> None:
    recipe = replace(RECIPE, numerics=PRESETS[name].to_dict(), dropout=0.1)
    with elsewhere() as device:
        trainer = Trainer(recipe, text, device)
        first = trainer.step()
        assert trainer.evaluate() > 0 < trainer.step()
        assert all(isinstance(p.grad, There) for p in trainer.model.parameters())
    assert Trainer(recipe, text).step() == pytest.approx(first, rel=0.02)


def test_tensors_left_behind_are_seen() -> None:
    with elsewhere() as device:
        there, here = torch.ones(3).to(device), torch.ones(3)
        with pytest.raises(RuntimeError, match="two devices"):
            there + here
        with pytest.raises(RuntimeError, match="two devices"):
            there.add_(here)
        assert isinstance(torch.zeros(2, device=device), There)
        assert there.cpu().device.type == "cpu" and not isinstance(there.cpu(), There)
        assert (there + 1).cpu().tolist() == [2.0, 2.0, 2.0]
