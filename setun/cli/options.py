"""Options that the model verbs share."""

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
