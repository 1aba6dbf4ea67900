"""How verbs show a running model: text as it comes, or one JSON object at the end."""

from collections.abc import Sequence

import click

from setun.backends import Backend, Sampling
from setun.cli.common import emit
from setun.firmware.image.image import Image
from setun.firmware.link.messages import Reason
from setun.firmware.numerics.options import Numerics
from setun.talk.session import Result, stream


def play(
    image: Image,
    backend: Backend,
    numerics: Numerics,
    prompt: Sequence[int],
    count: int,
    sampling: Sampling,
    as_json: bool,
    heading: str = "",
) -> Result:
    """Run to the end or to Ctrl-C, and close the backend."""
    result = Result()
    try:
        if heading and not as_json:
            click.echo(heading, nl=False)
        for text in stream(image, backend, numerics, prompt, count, sampling, result):
            if not as_json:
                click.echo(text, nl=False)
        if not as_json:
            click.echo()
    finally:
        backend.close()
    emit(result.to_dict(), as_json, "") if as_json else click.echo(summary(result), err=True)
    return result


def summary(result: Result) -> str:
    """One line about a finished run."""
    parts = [f"{len(result.tokens)} tokens", f"{result.tokens_per_second:.1f} tokens/s"]
    if result.reason == Reason.END_OF_TEXT.name.lower():
        parts.append("end of text")
    if result.positions_left is not None:
        parts.append(f"{result.positions_left} positions left")
    if result.cycles_per_token:
        parts.append(f"{result.cycles_per_token:.0f} cycles per token")
    if result.chip_tokens_per_second:
        parts.append(f"{result.chip_tokens_per_second:.0f} tokens/s on the chip")
    if result.cycles_per_token and result.golden_match:
        parts.append("every token equals the golden model's")
    return "[" + ", ".join(parts) + "]"
