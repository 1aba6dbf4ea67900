"""Options that the model verbs share."""

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click
from click.shell_completion import CompletionItem

from setun.cli.common import F
from setun.cli.completion import NUMERICS
from setun.firmware.numerics.options import PRESETS, Numerics, choose


class _NumericsType(click.ParamType):
    name = "PRESET|FILE"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return NUMERICS.shell_complete(ctx, param, incomplete)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Numerics:
        return value if isinstance(value, Numerics) else choose(str(value))


def numerics_option(command: F) -> F:
    """Add `--numerics`, passed as `numerics: Numerics | None`; None when not given."""
    return click.option(
        "--numerics",
        type=_NumericsType(),
        help=f"Arithmetic of the chip: {', '.join(PRESETS)}, or a TOML file.",
    )(command)


def chat_option(command: F) -> F:
    """Add `--chat`, passed as `chat: bool`."""
    help = "Text is a message, read as the model's chat template has it."
    return click.option("--chat", is_flag=True, help=help)(command)


def sampling_options(temperature: float = 0.0, seed: int = 0) -> Callable[[F], F]:
    """Add `--temperature`, `--seed`, `--top-k`, `--top-p`, `--ignore-eos`.

    They are passed as `sampling: Sampling`.
    """

    def add(command: F) -> F:
        @functools.wraps(command)
        def sampled(*args: Any, **options: Any) -> Any:
            from setun.backends.base import Sampling

            own = {field.name: options.pop(field.name) for field in fields(Sampling)}
            return command(*args, sampling=Sampling(**own), **options)

        options = (
            ("--temperature", float, temperature, "0 is greedy."),
            ("--seed", int, seed, "Of the sampling noise."),
            ("--top-k", int, 0, "1 is greedy; the chip knows no other limit."),
            ("--top-p", float, 1.0, "The chip knows no other."),
        )
        ignore = "Go on behind a token that ends the model's text."
        wrapped: Any = click.option("--ignore-eos", is_flag=True, help=ignore)(sampled)
        for name, kind, default, about in reversed(options):
            option = click.option(name, type=kind, default=default, show_default=True, help=about)
            wrapped = option(wrapped)
        return wrapped

    return add
