"""Options that describe a chip, and the configuration they add up to."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from setun.cli.options import numerics_option
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.file_kinds import refuse_other_kind
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import sized_for
from setun.firmware.numerics.options import CHOICES, Numerics

if TYPE_CHECKING:
    from setun.models.load import Model

F = TypeVar("F", bound=Callable[..., Any])


def set_option(command: F) -> F:
    """Add `--set key=value`, passed as `settings`."""
    return click.option(
        "--set",
        "settings",
        metavar="KEY=VALUE",
        multiple=True,
        help="Set one option of the chip, e.g. --set rows=16.",
    )(command)


def config_option(command: F) -> F:
    """Add `--config FILE`, passed as `config_file`."""
    return click.option(
        "--config",
        "config_file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Options of the chip as TOML.",
    )(command)


def chip_options(command: F) -> F:
    """Add `--config FILE`, `--numerics`, `--set key=value`, for `chosen_options` in that order."""
    return config_option(numerics_option(set_option(command)))


def chosen_options(
    config_file: Path | None, numerics: Numerics | None, settings: tuple[str, ...]
) -> dict[str, Any]:
    """Options named in the file, by --numerics and by --set; later ones win."""
    values: dict[str, Any] = {}
    if config_file is not None:
        try:
            data = config_file.read_bytes()
            refuse_other_kind(f"configuration {config_file}", "must be a TOML file", data)
            values = tomllib.loads(data.decode("utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise SetunError(f"configuration {config_file}", "must be a TOML file", error) from None
    if numerics is not None:
        others = {k: v for k, v in values.items() if k not in Numerics.__dataclass_fields__}
        values = others | numerics.to_dict()
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise SetunError(f"--set {setting}", "must be KEY=VALUE")
        try:
            values.update(tomllib.loads(f"{key} = {value}"))
        except tomllib.TOMLDecodeError:
            values[key] = value
    return values


def usual_numerics(model: "Model", options: dict[str, Any]) -> dict[str, Any]:
    """Defaults that an image was imported for.

    None beside a complete choice, of --numerics or of a file that `setun generate` wrote: that
    replaces them all. An option that makes another one pointless leaves it out.
    """
    if CHOICES.keys() <= options.keys():
        return {}
    usual = model.numerics.to_dict()
    for chosen, pointless in (("activation", "accumulate"), ("state_rounding", "state_seed")):
        if chosen in options:
            usual.pop(pointless, None)
    return usual


def chip_for(image: Image | None, options: dict[str, Any], **defaults: Any) -> ChipConfig:
    """The chip that `options` ask for, other sizes just large enough for `image`."""
    base = ChipConfig.from_dict({**ChipConfig().to_dict(), **defaults, **options})
    if image is None:
        return base
    sized = sized_for(image, base)
    return sized.override(**ChipConfig.from_dict({**sized.to_dict(), **options}).__dict__)
