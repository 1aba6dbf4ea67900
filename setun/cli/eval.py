"""`setun eval`: how faithful the chip's arithmetic is, on a text."""

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from setun.cli.common import bar, emit, json_option
from setun.cli.options import numerics_option
from setun.firmware.errors import SetunError
from setun.firmware.numerics import Numerics
from setun.firmware.tokenizer import Tokenizer
from setun.models.load import Model, open_model
from setun.sim.evaluate import BatchModel, agreement, score_float, score_golden, windows
from setun.sim.folded import FoldedModel
from setun.sim.reference import FloatModel

TOKENS = 20_480
"""Predictions scored when --tokens is not given and the text has that many."""

SLACK = 64
"""Last ids of a text cut short that are not used: the cut may have changed them."""

HELD_OUT = 0.9
"""Where the part of a text begins that the shipped models were not trained on."""


def _read(path: Path, held_out: bool) -> str:
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise SetunError(str(path), "must be UTF-8 text", error) from error
    return text[int(HELD_OUT * len(text)) :] if held_out else text


def _encode(tokenizer: Tokenizer, text: str, tokens: int) -> NDArray[np.int64]:
    """At least the first `tokens` ids of a text, if it has them, without encoding much more."""
    length = 2 * (tokens + SLACK)
    while length < len(text):
        ids = tokenizer.encode(text[:length])
        if len(ids) >= tokens + SLACK:
            return np.array(ids[:-SLACK], np.int64)
        length *= 2
    return np.array(tokenizer.encode(text), np.int64)


def evaluate(
    model: Model, text: str, tokens: int | None, window: int, numerics: Numerics
) -> dict[str, object]:
    """What `setun eval --json` prints; the float model is the checkpoint's own where there is
    one, else the image's float meaning."""
    ids = _encode(model.tokenizer(), text, (tokens or TOKENS) + 1)
    if tokens is None:
        tokens = max(1, min(TOKENS, len(ids) - 1))
    rows, counted = windows(ids, window, tokens)
    image, vocabulary = model.image, model.image.config.vocab_size
    whole: BatchModel = (
        FoldedModel(image) if model.checkpoint is None else FloatModel(model.checkpoint)
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
    "--text", "file", required=True, metavar="F", help="UTF-8 text to predict.",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)  # fmt: skip
@click.option(
    "--tokens", type=click.IntRange(1), metavar="N",
    help=f"Tokens to predict from the start of the text.  [default: {TOKENS}, or the whole text]",
)  # fmt: skip
@click.option(
    "--window", type=click.IntRange(1), default=256, show_default=True,
    help="Tokens after which the state is reset.",
)  # fmt: skip
@click.option("--held-out", is_flag=True, help="Use only the last tenth of the text.")
@numerics_option
@json_option
def command(
    model: str, file: Path, tokens: int | None, window: int, held_out: bool,
    numerics: Numerics | None, as_json: bool,
) -> None:  # fmt: skip
    """Loss: float and golden, top-1 agreement.

    \b
    setun eval shakespeare --text FILE --held-out
    setun eval M.setun --text FILE --tokens 2048 --numerics lmul
    """
    opened = open_model(model)
    chosen = numerics or opened.numerics
    result = evaluate(opened, _read(file, held_out), tokens, window, chosen)
    emit(result, as_json, lambda: _text(result))
