"""`setun eval`: how faithful the chip's arithmetic is, on a text."""

from pathlib import Path

import click

from setun.cli.common import bar, emit, json_option
from setun.cli.options import numerics_option
from setun.firmware.numerics.options import Numerics
from setun.models.load import Model, open_model
from setun.sim.evaluate import BatchModel, agreement, score_float, score_golden, windows
from setun.sim.folded import FoldedModel
from setun.sim.reference import float_model
from setun.sim.texts import TOKENS, WINDOW, encode, read_text


def evaluate(
    model: Model, text: str, tokens: int | None, window: int | None, numerics: Numerics
) -> dict[str, object]:
    """What `setun eval --json` prints; the float model is the checkpoint's own where there is
    one, else the image's float meaning."""
    image = model.image
    window = window or min(WINDOW, image.memory.positions or WINDOW)
    ids = encode(model.tokenizer(), text, (tokens or TOKENS) + 1)
    if tokens is None:
        tokens = max(1, min(TOKENS, len(ids) - 1))
    rows, counted = windows(ids, window, tokens)
    vocabulary = model.vocab_size
    whole: BatchModel = (
        FoldedModel(image) if model.checkpoint is None else float_model(model.checkpoint)
    )
    with bar("float", tokens) as step:
        real = score_float(whole, rows, counted, vocabulary, step)
    with bar("golden", tokens) as step:
        golden = score_golden(image, numerics, rows, counted, step)
    return {
        "float": {"loss": real.loss, "tokens_per_second": real.tokens_per_second},
        "golden": {"loss": golden.loss, "tokens_per_second": golden.tokens_per_second},
        "loss_difference": golden.loss - real.loss,
        "top1_agreement": agreement(real, golden),
        "tokens": tokens,
        "window": window,
        "numerics": numerics.to_dict(),
        "model_hash": image.model_hash,
    }


def _text(result: dict[str, object]) -> str:
    lines = []
    for name in ("float", "golden"):
        part = result[name]
        if not isinstance(part, dict):
            raise TypeError("not a result of evaluate()")
        speed = part["tokens_per_second"]
        lines.append(f"{name:<8} {part['loss']:.4f} nat/token  ({speed:.0f} tokens/s)")
    lines.append(f"golden - float {result['loss_difference']:+.5f} nat/token")
    lines.append(f"top-1 agreement {result['top1_agreement']:.4f}")
    lines.append(f"{result['tokens']} tokens in windows of {result['window']}")
    return "\n".join(lines)


@click.command()
@click.argument("model", metavar="DIR|M")
@click.option(
    "--text",
    "file",
    required=True,
    metavar="F",
    help="UTF-8 text to predict.",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "--tokens",
    type=click.IntRange(1),
    metavar="N",
    help=f"Tokens to predict from the start of the text.  [default: {TOKENS}, or the whole text]",
)
@click.option(
    "--window",
    type=click.IntRange(1),
    metavar="N",
    help=f"Tokens after which the state is reset.  [default: {WINDOW}, or the model's positions]",
)
@click.option("--held-out", is_flag=True, help="Use only the last tenth of the text.")
@numerics_option
@json_option
def command(
    model: str,
    file: Path,
    tokens: int | None,
    window: int | None,
    held_out: bool,
    numerics: Numerics | None,
    as_json: bool,
) -> None:
    """Loss: float and golden, top-1 agreement.

    \b
    setun eval shakespeare --text FILE --held-out
    setun eval M.setun --text FILE --tokens 2048 --numerics lmul
    """
    opened = open_model(model)
    chosen = numerics or opened.numerics
    result = evaluate(opened, read_text(file, held_out), tokens, window, chosen)
    emit(result, as_json, lambda: _text(result))
