"""`setun train`: a text becomes a model."""

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from setun.cli.chip_options import chosen_options
from setun.cli.common import emit, json_option, watched
from setun.cli.options import numerics_option

if TYPE_CHECKING:
    from setun.firmware.models.checkpoint import Checkpoint
    from setun.firmware.numerics.options import Numerics
    from setun.train.loop import Progress, Trainer
    from setun.train.recipe import Recipe


@click.command()
@click.option(
    "--text",
    "file",
    required=True,
    metavar="FILE",
    help="UTF-8 text to learn.",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("-o", "out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--board", metavar="NAME", help="The largest model that fits this board's chip.")
@click.option(
    "--architecture", metavar="NAME", help="Family of the model, as bitnet.  [default: hgrn_bit]"
)
@click.option("--hidden", type=int, metavar="H", help="Width.  [default: 128]")
@click.option("--layers", type=int, metavar="L", help="Depth.  [default: 6]")
@click.option("--intermediate", type=int, metavar="I", help="Width of the GLU.  [default: 3 H]")
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Set one field of config.json, e.g. --set hidden_act=silu.",
)
@click.option(
    "--tokenizer",
    type=click.Choice(["char", "byte", "bpe"]),
    default="char",
    show_default=True,
    help="What a token is.",
)
@click.option("--vocabulary", type=int, default=1024, show_default=True, help="Most tokens of bpe.")
@click.option("--steps", type=int, default=5000, show_default=True, help="Optimiser steps.")
@click.option("--batch", type=int, default=16, show_default=True, help="Rows of a step.")
@click.option("--context", type=int, default=256, show_default=True, help="Tokens of a row.")
@click.option("--rate", type=float, default=4e-3, show_default=True, help="Peak learning rate.")
@click.option("--warmup", type=int, default=100, show_default=True, help="Steps until then.")
@click.option("--final", type=float, default=0.02, show_default=True, help="Its share at the end.")
@click.option("--decay", type=float, default=0.1, show_default=True, help="Of matrices' weights.")
@click.option("--clip", type=float, default=1.0, show_default=True, help="Largest gradient norm.")
@click.option("--dropout", type=float, default=0.0, show_default=True, help="Of mixers' outputs.")
@click.option(
    "--average",
    type=float,
    default=100.0,
    show_default=True,
    help="Half-life, in steps, of the weights' average; 0 for none.",
)
@click.option(
    "--calibrate",
    type=float,
    default=0.02,
    show_default=True,
    help="Share of the text set aside to fit the logits' scale; 0 for none.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of weights and batches.")
@click.option("--every", type=int, default=250, show_default=True, help="Steps to an evaluation.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--init", metavar="MODEL", help="Checkpoint to begin with: its sizes, weights and tokenizer."
)
@click.option("--teacher", metavar="MODEL", help="Checkpoint to learn from beside the text.")
@click.option("--taught", type=float, default=0.5, show_default=True, help="Its share of the loss.")
@numerics_option
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@json_option
def command(
    file: Path,
    out: Path,
    board: str | None,
    device: str,
    architecture: str | None,
    settings: tuple[str, ...],
    init: str | None,
    teacher: str | None,
    taught: float,
    numerics: "Numerics | None",
    resume: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """A ternary model from a text file.

    Trains on the first nine tenths, quantising as the chip does, and keeps in the folder the model
    with the least loss on the last tenth: config.json, model.safetensors and tokenizer.json in
    upstream's layout, a card and a plot of the losses. Ctrl-C stops after a step; --resume, with
    the same options, goes on as if nothing had happened. With --numerics the forward pass has the
    chip's L-Mul, FP8 codes or rounding of the state, and the golden model scores what comes of it.

    \b
    setun train --text FILE -o DIR
    setun train --text FILE -o DIR --board icebreaker --steps 4000
    setun train --text FILE -o DIR --tokenizer bpe --vocabulary 2048 --resume
    setun train --text FILE -o DIR --init MODEL --numerics lmul --steps 1000 --rate 2e-4
    setun train --text FILE -o DIR --architecture bitnet --teacher shakespeare
    """
    _need_torch()
    from setun.firmware.errors import SetunError
    from setun.firmware.outputs import check_folder, make_folder
    from setun.train.allocator import keep_freed_memory
    from setun.train.files import weights_hash, write_card, write_model, write_plot
    from setun.train.loop import Trainer, run
    from setun.train.recipe import Recipe
    from setun.train.state import FILE, read_snapshot
    from setun.train.text import prepare

    sizes = {name: options.pop(name) for name in ("hidden", "layers", "intermediate")}
    first, known = _checkpoint("--init", init), _checkpoint("--teacher", teacher)
    if known is not None:
        options |= {"teacher": weights_hash(known), "taught": taught}
    options["fields"] = chosen_options(None, None, settings) or None
    options["architecture"] = architecture or "hgrn_bit"
    if first is not None:
        options |= _begun_with(first, architecture, settings)
        if not board:
            own = first.architecture.sizes(first.config)
            sizes = {n: v or o for (n, v), o in zip(sizes.items(), own, strict=True)}
    check_folder(out)
    recipe = Recipe(numerics=None if numerics is None else numerics.to_dict(), **options)
    tokenizer = _tokenizer(first, known)
    text = prepare(file, recipe.tokenizer, recipe.vocabulary, recipe.context, tokenizer)
    recipe = _sized(recipe, sizes, board, text.vocab_size)
    there = (out / FILE).exists()
    if there and not resume:
        raise SetunError(str(out), "must hold no run", FILE, "--resume, or another folder")
    if not there and (out / "config.json").exists():
        raise SetunError(str(out), "must hold no other model", "config.json", "another folder")
    keep_freed_memory()
    trainer = Trainer(recipe, text, device, known)
    make_folder(out)
    if there:
        trainer.restore(read_snapshot(out))
    elif first is not None:
        trainer.begin_with(first)
    called = shlex.join(["setun", *sys.argv[1:]])

    def keep() -> None:
        write_model(out, trainer)

    with _display(trainer) as report:
        run(trainer, out, keep, report)
    golden = _golden(out.resolve(), file, numerics)  # not a shipped model of that name
    if _has_matplotlib():
        write_plot(out, trainer.progress.losses)
    write_card(out, trainer, name=out.resolve().name, command=called, golden=golden)
    progress = trainer.progress
    begun = dict(zip(("held_out_loss_before", "float_loss_before"), progress.begun, strict=False))
    result = {
        "model": str(out),
        "weights": recipe.weights(text.vocab_size),
        "steps": progress.step,
        "held_out_loss": progress.best,
        "best_step": progress.best_step,
        "golden_loss": golden,
        **begun,
        "tokens_per_second": progress.losses[-1][3] if progress.losses else None,
        "vocab_size": text.vocab_size,
        "text_sha256": text.sha256,
    }
    emit(
        result,
        as_json,
        lambda: (
            f"{out}: {result['weights']:,} ternary weights, held-out loss {progress.best:.4f} "
            f"at step {progress.best_step}{_before(progress)}, golden {golden:.4f}"
        ),
    )


def _before(progress: "Progress") -> str:
    """What the run's held-out loss was, and is in float32 if that is another."""
    if not progress.begun:
        return ""
    given, exact = progress.begun
    return f" ({given:.4f} before" + (")" if given == exact else f", {exact:.4f} in float32)")


def _need_torch() -> None:
    from importlib.util import find_spec

    from setun.firmware.errors import SetunError

    if find_spec("torch") is None:
        raise SetunError("PyTorch", "is needed to train", "none", "pip install 'setun[train]'")


def _has_matplotlib() -> bool:
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def _sized(
    recipe: "Recipe", sizes: dict[str, int | None], board: str | None, vocabulary: int
) -> "Recipe":
    """The recipe with the sizes asked for: by hand, by a board, or the usual ones."""
    from dataclasses import replace

    from setun import boards
    from setun.firmware.errors import SetunError
    from setun.firmware.models.architecture import find
    from setun.train.sizes import RATIO, largest

    given: dict[str, Any] = {n: value for n, value in sizes.items() if value is not None}
    if board is not None:
        if given:
            raise SetunError(
                "--board", "chooses the sizes", f"--{next(iter(given))}", "one of both"
            )
        found = largest(boards.get(board), find(recipe.architecture), vocabulary)
        given = dict(zip(("hidden", "layers", "intermediate"), found, strict=True))
    elif "hidden" in given:
        given = {"intermediate": RATIO * given["hidden"]} | given
    return replace(recipe, **given)


def _checkpoint(option: str, name: str | None) -> "Checkpoint | None":
    """The float weights of a shipped model or a folder."""
    from setun.firmware.errors import SetunError
    from setun.models.load import open_model

    if name is None:
        return None
    found = open_model(name).checkpoint
    if found is None:
        raise SetunError(option, "must be a checkpoint, with float weights", name)
    return found


def _begun_with(
    first: "Checkpoint", architecture: str | None, settings: tuple[str, ...]
) -> dict[str, Any]:
    """What the weights to begin with say of the recipe."""
    from setun.firmware.errors import SetunError
    from setun.train.files import weights_hash

    own = first.architecture.model_type
    for option, given in (("--architecture", architecture not in (None, own)), ("--set", settings)):
        if given:
            fix = "without --init, or without it"
            raise SetunError(option, "must be left to the weights to begin with", own, fix)
    fields = first.architecture.config_fields(first.config)
    return {"init": weights_hash(first), "architecture": own, "fields": fields}


def _tokenizer(*models: "Checkpoint | None") -> str | None:
    """The tokenizer of the models that there are; SetunError where they have several."""
    import json

    from setun.firmware.errors import SetunError

    texts = [m.tokenizer_json for m in models if m is not None and m.tokenizer_json is not None]
    if len({json.dumps(json.loads(text)["model"], sort_keys=True) for text in texts}) > 1:
        raise SetunError("--teacher", "must have the tokenizer of --init", "another")
    return texts[0] if texts else None


def _golden(folder: str | Path, file: Path, numerics: "Numerics | None") -> float:
    """Held-out loss of a model in the chip's arithmetic."""
    from setun.cli.eval import evaluate
    from setun.firmware.numerics.options import Numerics
    from setun.models.load import open_model
    from setun.sim.texts import read_text

    rest = read_text(file, held_out=True)
    result = evaluate(open_model(folder), rest, None, None, numerics or Numerics())
    golden: dict[str, float] = result["golden"]  # type: ignore[assignment]
    return golden["loss"]


@contextmanager
def _display(trainer: "Trainer") -> "Iterator[Callable[[Progress], None]]":
    """Yield what `setun.train.loop.run` reports to: a bar with losses and sample text on a
    terminal's stderr, nothing elsewhere."""
    if not watched():
        yield lambda progress: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from setun.train.sample import sample

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    shown = len(trainer.progress.losses)
    with Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=trainer.recipe.steps, completed=trainer.progress.step)

        def report(progress: "Progress") -> None:
            nonlocal shown
            mean = progress.total / progress.counted if progress.counted else None
            told = f"loss {mean:.3f}" if mean else ""
            if progress.losses:
                told += f"  held out {progress.losses[-1][2]:.4f}  best {progress.best:.4f}"
            bar.update(task, completed=progress.step, description=told)
            if len(progress.losses) > shown:
                shown = len(progress.losses)
                step, _, held_out, rate = progress.losses[-1]
                bar.print(f"step {step:.0f}: held out {held_out:.4f}, {rate:,.0f} tokens/s")
                bar.print(escape(sample(trainer)), style="dim")

        yield report
