"""What a run leaves: a checkpoint in upstream's layout, its card, a plot of the losses."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from setun.drawing import pyplot
from setun.drawing import save as save_figure
from setun.firmware.models.checkpoint import Checkpoint
from setun.firmware.outputs import write_output
from setun.train.loop import CHIP_HELD_OUT, Progress, Trainer
from setun.train.recipe import Recipe

MODEL, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
CARD, PLOT = "README.md", "losses.svg"


def write_model(folder: Path, trainer: Trainer) -> None:
    """The checkpoint of `trainer`'s weights as they are evaluated."""
    tensors: dict[str, Tensor] = {n: t.cpu().contiguous() for n, t in trainer.weights().items()}
    fields = trainer.architecture.config_fields(trainer.model.config)
    write_output(folder / CONFIG, json.dumps(fields, indent=2).encode())
    write_output(folder / TOKENIZER, trainer.text.tokenizer_json.encode())
    write_output(folder / MODEL, save(tensors, metadata={"format": "pt"}))


def write_plot(folder: Path, losses: Sequence[Sequence[float]]) -> None:
    """Training and held-out loss against steps; SetunError where matplotlib is missing."""
    figure, axes = pyplot().subplots(figsize=(6, 3.5))
    steps = [row[0] for row in losses]
    axes.plot(steps, [row[1] for row in losses], label="training, mean since the last point")
    axes.plot(steps, [row[2] for row in losses], label="held out")
    axes.set(xlabel="steps", ylabel="nats per token")
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, folder / PLOT)


def weights_hash(checkpoint: Checkpoint) -> str:
    """SHA-256 of the tensors, by name."""
    digest = hashlib.sha256()
    for name in sorted(checkpoint.tensors):
        digest.update(name.encode() + checkpoint.tensors[name].tobytes())
    return digest.hexdigest()


def write_card(folder: Path, trainer: Trainer, *, name: str, command: str, golden: float) -> None:
    """The model's card: sizes, data, command, losses; `golden` is the chip's held-out loss."""
    recipe, text, progress = trainer.recipe, trainer.text, trainer.progress
    weights = recipe.weights(text.vocab_size)
    others = sum(p.numel() for p in trainer.model.parameters()) - weights
    aside = recipe.set_aside(len(text.train))
    rows = {
        "architecture": trainer.architecture.description,
        "size": f"hidden {recipe.hidden}, {recipe.layers} layers, intermediate "
        f"{recipe.intermediate}, vocabulary of {text.vocab_size} ({recipe.tokenizer})",
        "weights": f"{weights:,} ternary, {others:,} other numbers; the file holds the latent "
        "float weights that absmean turns into {−1, 0, +1}",
        "data": f"SHA-256 {text.sha256}, {len(text.train) - aside:,} tokens trained on, "
        f"{len(text.held_out):,} held out (the last tenth of the characters)",
        "command": f"`{command}`",
        "logits": f"times {progress.scale:.3f}, fitted on {aside:,} of the tokens that no step saw"
        if aside
        else "as trained",
        "best step": f"{progress.best_step} of {progress.step}",
        "held-out loss": f"{progress.best:.4f} nats per token, windows of {trainer.window} from a "
        f"zero state ({_arithmetic(recipe)})",
        "held-out loss, golden model": f"{golden:.4f} nats per token of the first 20,480 (the "
        "chip's arithmetic)",
    }
    if recipe.numerics is not None:
        rows["numerics"] = f"`{json.dumps(recipe.numerics)}`, in the forward pass"
    if recipe.teacher:
        rows["teacher"] = (
            f"weights {recipe.teacher[:12]}; {recipe.taught:.0%} of the loss, and of the training "
            "losses below, is against its probabilities"
        )
    if progress.begun:
        given, exact = progress.begun
        rows["held-out loss, before"] = (
            f"{given:.4f}, in float32 {exact:.4f}, weights {recipe.init[:12]}"
        )
    lines = [f"# {name}", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in rows.items()]
    lines += [
        "",
        f"![losses]({PLOT})",
        "",
        "| steps | training | held out | tokens/s |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {step:.0f} | {mean:.4f} | {held_out:.4f} | {rate:,.0f} |"
        for step, mean, held_out, rate in _thinned(progress)
    ]
    write_output(folder / CARD, ("\n".join(lines) + "\n").encode())


def _arithmetic(recipe: Recipe) -> str:
    if recipe.numerics is None:
        return "float32"
    return f"the golden model, first {CHIP_HELD_OUT:,} tokens at most"


def _thinned(progress: Progress, most: int = 24) -> Sequence[Sequence[float]]:
    every = -(-len(progress.losses) // most)
    return progress.losses[::-1][:: every or 1][::-1]
