"""The logits' scale: found where it is known, folded into the head, fitted on unseen text alone."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from setun.firmware.models.checkpoint import load_checkpoint
from setun.train.calibrate import fitted, split
from setun.train.hgrn_bit import TrainedModel
from setun.train.loop import Trainer
from setun.train.recipe import Recipe
from setun.train.state import read_snapshot
from setun.train.text import Text, prepare
from train.runs import TEXT, train, write_text

TINY = Recipe(hidden=16, layers=2, intermediate=24, context=16, batch=4, steps=9, calibrate=0.1)


@settings(max_examples=25, deadline=None)
@given(true=st.floats(0.3, 3.0), begun=st.floats(0.5, 2.0), seed=st.integers(0, 1 << 31))
def test_finds_the_factor_that_made_the_text(true: float, begun: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    table = 1.5 * torch.randn(8, 16, generator=generator)  # next token's logits by the last one
    ids = torch.randint(8, (4, 2001), generator=generator)
    shares = (true * table).softmax(-1)[ids[:, :-1].flatten()]
    drawn = torch.multinomial(shares, 1, generator=generator)
    rows = torch.stack([ids[:, :-1].flatten(), drawn[:, 0]], 1)
    found = begun
    for _ in range(4):  # evaluations
        found = fitted(lambda x: table[x], [rows], found)
    logits = table[rows[:, 0]]
    losses = [functional.cross_entropy(logits * s, rows[:, 1]) for s in (found, true)]
    assert losses[0] <= losses[1] + 1e-6
    assert found == pytest.approx(true, rel=0.1)


def test_logits_all_alike_have_any_factor() -> None:
    ids = torch.zeros((2, 9), dtype=torch.int64)
    assert fitted(lambda x: torch.zeros((*x.shape, 4)), [ids], 0.7) == 0.7


@given(length=st.integers(1, 30_000), share=st.floats(0, 0.5))
def test_pieces_and_the_rest_are_the_whole(length: int, share: float) -> None:
    aside = round(share * length)
    learnt, apart = split(np.arange(length), aside)
    assert sum(map(len, apart)) == aside and len(apart) in range(1, 17)
    assert max(map(len, apart)) - min(map(len, apart)) <= 1
    assert np.array_equal(np.sort(np.concatenate([learnt, *apart])), np.arange(length))
    assert (np.diff(learnt) > 0).all() and learnt[-1] == length - 1
    assert all((np.diff(piece) == 1).all() for piece in apart)


def trained(text: Text, recipe: Recipe = TINY) -> Trainer:
    trainer = Trainer(recipe, text)
    for _ in range(recipe.steps):
        trainer.step()
    return trainer


def test_no_step_sees_what_is_set_aside(tmp_path: Path) -> None:
    text = prepare(write_text(tmp_path), "char", 1024, TINY.context)
    aside = TINY.set_aside(len(text.train))
    assert aside == round(0.1 * len(text.train))
    other = text.train.copy()
    middle = slice((len(other) - aside) // 2, (len(other) - aside) // 2 + aside)  # of one stretch
    other[middle] = np.random.default_rng(5).permutation(other[middle])
    ran = [trained(text), trained(Text(**{**vars(text), "train": other}))]
    for ours, theirs in zip(*(each.weights().values() for each in ran), strict=True):
        assert torch.equal(ours, theirs)
    losses = [each.evaluate() for each in ran]
    assert ran[0].progress.scale != ran[1].progress.scale and losses[0] != losses[1]
    assert sum(rows.numel() - len(rows) for rows in ran[0].aside) == aside - 1


@pytest.mark.parametrize("average", [0.0, 4.0])
def test_only_the_heads_scale_is_kept(tmp_path: Path, average: float) -> None:
    """Codes of the head are as trained; evaluating leaves the run as it was."""
    text = prepare(write_text(tmp_path), "char", 1024, TINY.context)
    trainer = trained(text, Recipe(**{**vars(TINY), "average": average}))
    before = {n: p.clone() for n, p in trainer.weights().items()}
    running = {n: p.clone() for n, p in trainer.model.named_parameters()}
    trainer.evaluate()
    after, scale = trainer.weights(), trainer.progress.scale
    assert scale != 1.0
    assert all(torch.equal(before[n], after[n]) == (n != TrainedModel.head) for n in before)
    assert torch.equal(before[TrainedModel.head] * scale, after[TrainedModel.head])
    assert all(torch.equal(running[n], p) for n, p in trainer.model.named_parameters())


def test_the_kept_model_has_the_scale(tmp_path: Path) -> None:
    """The head in the folder is the run's times the factor, which the card tells."""
    text = write_text(tmp_path)
    for name, share in (("with", "0.1"), ("without", "0")):
        train(text, tmp_path / name, "--calibrate", share, "--average", "0")
        snapshot = read_snapshot(tmp_path / name)
        progress, kept = snapshot.facts["progress"], load_checkpoint(tmp_path / name)
        assert progress["best_step"] == progress["step"], "what is kept is the run's last"
        assert (progress["scale"] == 1.0) == (name == "without")
        for parameter, tensor in kept.tensors.items():
            factor = progress["scale"] if parameter == TrainedModel.head else 1.0
            ran = snapshot.tensors[f"model.{parameter}"] * factor
            np.testing.assert_array_equal(tensor, ran.numpy())
    card = (tmp_path / "with" / "README.md").read_text()
    assert "| logits | times " in card and f"fitted on {round(0.1 * 0.9 * len(TEXT)):,} of" in card
    assert "| logits | as trained |" in (tmp_path / "without" / "README.md").read_text()


def test_a_text_too_short_has_nothing_set_aside() -> None:
    assert Recipe(context=16, calibrate=0.5).set_aside(33) == 16
    assert Recipe(context=16, calibrate=0.5).set_aside(32) == 0
    assert Recipe(context=16).set_aside(70) == 0
    assert Recipe(calibrate=0.0).set_aside(10_000) == 0
