"""The training loop: steps, evaluations, the best model kept, a run that can be gone on with."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from setun.firmware.errors import SetunError
from setun.firmware.models.architecture import find as find_architecture
from setun.firmware.models.checkpoint import Checkpoint
from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.numerics.options import Numerics
from setun.sim.evaluate import score_golden, windows
from setun.train import architectures
from setun.train.calibrate import fitted, split
from setun.train.chip import Chip
from setun.train.devices import find, matmul_type
from setun.train.recipe import Recipe
from setun.train.state import Snapshot, generator_state, restore_generators, write_snapshot
from setun.train.teacher import expectations
from setun.train.text import Text

ROWS = 16  # windows side by side
CHIP_HELD_OUT = 1 << 17
"""Held-out tokens scored by the golden model, which is some tens of times slower."""
BETAS = (0.9, 0.95)


@dataclass
class Progress:
    """A run so far; plain JSON by `vars`.

    `losses` has [step, training loss since the last, held-out loss, tokens/s] of each evaluation;
    `scale` is the logits' of the last one. `begun` has the held-out loss of the weights that it
    began with, if not random: as the run evaluates, and in float32.
    """

    step: int = 0
    best: float = float("inf")
    best_step: int = 0
    total: float = 0.0  # of training losses since the last evaluation
    counted: int = 0
    scale: float = 1.0
    begun: list[float] = field(default_factory=list)
    losses: list[list[float]] = field(default_factory=list)


Report = Callable[[Progress], None]


class Trainer:
    """One run of a recipe on a text.

    Parameters
    ----------
    recipe, text
        What to do with what.
    device
        "cpu" or "cuda"; matrices are multiplied as `matmul_type` says.
    teacher
        The model that the recipe's `teacher` names.

    Raises
    ------
    SetunError
        The device is not there.
    """

    def __init__(
        self,
        recipe: Recipe,
        text: Text,
        device: str = "cpu",
        teacher: Checkpoint | None = None,
    ) -> None:
        self.recipe, self.text, self.device = recipe, text, find(device)
        self.chip: Chip | None = None
        if recipe.numerics is not None:
            self.chip = Chip(Numerics.from_dict(recipe.numerics))
        torch.manual_seed(recipe.seed)
        self.architecture = find_architecture(recipe.architecture)
        shape, matmul = recipe.model(text.vocab_size), matmul_type(self.device)
        self.window = recipe.window(shape)
        model = architectures.build(self.architecture, shape, recipe.dropout, matmul)
        self.model = model.to(self.device)
        self.batches = torch.Generator().manual_seed(recipe.seed)
        learnt, apart = split(text.train, recipe.set_aside(len(text.train)))
        self.train_ids, self.held_out = torch.from_numpy(learnt), torch.from_numpy(text.held_out)
        pieces = [_windows(torch.from_numpy(piece), self.window) for piece in apart]
        self.aside = [rows.to(self.device) for piece in pieces for rows in piece]
        self.taught = None
        if teacher is not None and recipe.taught:
            self.taught = expectations(teacher, self.train_ids, self.device)
        named = dict(self.model.named_parameters())
        matrices = [p for p in named.values() if p.ndim == 2]
        others = [p for p in named.values() if p.ndim != 2]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": recipe.decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=recipe.rate,
            betas=BETAS,
            fused=True,
        )
        self.averages = {n: p.detach().clone() for n, p in named.items()} if recipe.average else {}
        self.progress = Progress()

    def step(self) -> float:
        """One optimiser step; its loss, nats a token.

        Raises
        ------
        SetunError
            The loss is not finite.
        """
        recipe, progress = self.recipe, self.progress
        last = len(self.train_ids) - recipe.context
        starts = torch.randint(last, (recipe.batch, 1), generator=self.batches)
        places = starts + torch.arange(recipe.context + 1)
        ids = self.train_ids[places].to(self.device)
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.rate_at(progress.step)
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        logits = self.model(ids[:, :-1], self.chip).float().flatten(0, 1)
        loss = functional.cross_entropy(logits, ids[:, 1:].flatten())
        if self.taught is not None:
            expected = self.taught[places[:, :-1].flatten()].to(self.device).float()
            soft = functional.cross_entropy(logits, expected)
            loss = loss.lerp(soft, recipe.taught)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        value = loss.item()
        if not np.isfinite(value):
            raise SetunError(
                f"loss at step {progress.step}", "must be finite", value, "a lower --rate"
            )
        self.optimiser.step()
        if self.averages:
            kept = recipe.kept_at(progress.step)
            torch._foreach_lerp_(
                list(self.averages.values()), list(self.model.parameters()), 1 - kept
            )
        progress.step += 1
        progress.total += value
        progress.counted += 1
        return value

    def weights(self) -> dict[str, Tensor]:
        """What is evaluated and kept, by upstream's names: the average, or the parameters, the
        logits scaled as at the last evaluation."""
        found = self.averages or {n: p.detach() for n, p in self.model.named_parameters()}
        head = self.model.head
        return found | {head: found[head] * self.progress.scale}

    @torch.no_grad()
    def evaluate(self) -> float:
        """Fit the logits' scale; the held-out loss of `weights`, nats a token: in float32 over
        the whole held-out text, or by the golden model over its first `CHIP_HELD_OUT` tokens."""
        own = {n: p.detach().clone() for n, p in self.model.named_parameters()}
        self.model.eval()
        self._put(self.averages)
        if self.aside:
            self.progress.scale = fitted(
                lambda ids: self.model(ids, self.chip), self.aside, self.progress.scale
            )
        self._put(self.weights())
        loss = self._held_out_loss()
        self._put(own)
        return loss

    @torch.no_grad()
    def losses_as_given(self) -> list[float]:
        """`Progress.begun` of the weights as they are."""
        self.model.eval()
        exact = self._exact_loss()
        return [exact if self.chip is None else self._held_out_loss(), exact]

    def _held_out_loss(self) -> float:
        if self.chip is None:
            return self._exact_loss()
        image = compile_checkpoint(self.checkpoint(dict(self.model.named_parameters())))
        count = min(CHIP_HELD_OUT, len(self.held_out) - 1)
        rows = windows(self.held_out.numpy(), self.window, count)
        return score_golden(image, self.chip.numerics, *rows).loss

    def checkpoint(self, tensors: dict[str, Tensor]) -> Checkpoint:
        """The model with these parameters, without a tokenizer."""
        arrays = {n: t.detach().cpu().numpy() for n, t in tensors.items()}
        tied = self.architecture.tied(self.model.config)
        arrays |= {name: arrays[other] for name, other in tied.items()}
        return Checkpoint(architecture=self.architecture, config=self.model.config, tensors=arrays)

    def _exact_loss(self) -> float:
        total, count = 0.0, 0
        for rows in _windows(self.held_out, self.window):
            ids = rows.to(self.device)
            logits = self.model(ids[:, :-1]).float().flatten(0, 1)
            told = ids[:, 1:].flatten()
            total += functional.cross_entropy(logits, told, reduction="sum").item()
            count += len(told)
        return total / count

    def begin_with(self, checkpoint: Checkpoint) -> None:
        """Take the weights of `checkpoint`; SetunError when its shape is another."""
        if checkpoint.config != self.model.config:
            raise SetunError(
                "sizes",
                "must be those of the weights to begin with",
                checkpoint.config,
                "no sizes, or no --init",
            )
        tensors = {n: torch.from_numpy(np.array(t)) for n, t in checkpoint.tensors.items()}
        self._put(tensors)
        for name, average in self.averages.items():
            average.copy_(tensors[name])

    def _put(self, tensors: dict[str, Tensor]) -> None:
        for name, parameter in self.model.named_parameters():
            if name in tensors:
                parameter.data.copy_(tensors[name])

    def snapshot(self) -> Snapshot:
        """Everything that the next step depends on."""
        tensors = {f"model.{n}": p for n, p in self.model.named_parameters()}
        tensors |= {f"average.{n}": p for n, p in self.averages.items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{key}.{name}"] = value
        tensors |= generator_state(self.device) | {"random.batches": self.batches.get_state()}
        facts = {"progress": vars(self.progress), "text": self.text.sha256}
        return Snapshot(self.recipe, tensors, facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on where `snapshot` was taken; SetunError when it is of another run."""
        if snapshot.facts["text"] != self.text.sha256:
            raise SetunError(
                "text",
                "must be the run's",
                self.text.sha256[:12],
                "the same file, or another folder",
            )
        if snapshot.recipe != self.recipe:
            raise SetunError(
                "options",
                "must be the run's",
                self.recipe.told_from(snapshot.recipe),
                "the same options, or another folder",
            )
        tensors = snapshot.tensors
        self._put({n: tensors[f"model.{n}"] for n, _ in self.model.named_parameters()})
        for name in self.averages:
            self.averages[name].copy_(tensors[f"average.{name}"])
        for name, parameter in self.model.named_parameters():
            start = "optimiser."
            self.optimiser.state[parameter] = {
                key[len(start) :].split(".", 1)[0]: value.to(self.device, copy=True)
                for key, value in tensors.items()
                if key.startswith(start) and key[len(start) :].split(".", 1)[1] == name
            }
        restore_generators(tensors, self.device)
        self.batches.set_state(tensors["random.batches"])
        self.progress = Progress(**snapshot.facts["progress"])


def _windows(ids: Tensor, window: int) -> Iterator[Tensor]:
    """Rows [≤ ROWS, window + 1] that cover the text, its rest in a shorter row of its own."""
    told = max(0, len(ids) - 1)
    whole = told // window
    starts = torch.arange(whole)[:, None] * window
    for part in starts.split(ROWS) if whole else ():
        yield ids[part + torch.arange(window + 1)]
    if told % window:
        yield ids[whole * window :][None]


def run(trainer: Trainer, folder: Path, keep: Callable[[], None], report: Report) -> None:
    """Train to the last step, evaluating as the recipe says.

    The run is written at its beginning, where a full disk costs nothing yet, and after each
    evaluation; on KeyboardInterrupt too. `keep` writes the model when it is the best so far;
    `report` is called after each step and each evaluation.
    """
    recipe, progress = trainer.recipe, trainer.progress
    if progress.step == 0:
        write_snapshot(folder, trainer.snapshot())
        if recipe.init:  # what it begins with may be better than all that comes of it
            progress.begun = trainer.losses_as_given()
            progress.best = trainer.evaluate()
            keep()
            write_snapshot(folder, trainer.snapshot())
    begun, since = time.monotonic(), progress.step
    try:
        while progress.step < recipe.steps:
            trainer.step()
            if progress.step % recipe.every == 0 or progress.step == recipe.steps:
                seconds = time.monotonic() - begun
                rate = (progress.step - since) * recipe.batch * recipe.context / seconds
                held_out = trainer.evaluate()
                mean = progress.total / progress.counted
                progress.losses.append([progress.step, mean, held_out, round(rate)])
                progress.total, progress.counted = 0.0, 0
                if held_out < progress.best:
                    progress.best, progress.best_step = held_out, progress.step
                    keep()
                write_snapshot(folder, trainer.snapshot())
                begun, since = time.monotonic(), progress.step
            report(progress)
    except KeyboardInterrupt:
        write_snapshot(folder, trainer.snapshot())
        raise
