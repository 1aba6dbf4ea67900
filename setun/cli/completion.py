"""What a shell offers for an option's value, by the option's name; any verb that has it gets it."""

from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

PACKAGE = Path(__file__).parents[1]


def boards() -> list[str]:
    """Names of the boards, without importing them: a shell waits for this."""
    return sorted(path.stem for path in (PACKAGE / "boards").glob("*.toml"))


def models() -> list[str]:
    """Names of the shipped models."""
    return sorted(path.parent.name for path in (PACKAGE / "models").glob("*/config.json"))


def _presets() -> Iterable[str]:
    from setun.firmware.numerics.options import PRESETS

    return PRESETS


def _bench_configs() -> Iterable[str]:
    from setun.bench.measure import BENCH_CONFIGS

    return BENCH_CONFIGS


def _settings() -> Iterable[str]:
    from setun.firmware.config import ChipConfig

    return [f"{name}=" for name in ChipConfig().to_dict()]


def _ports() -> Iterable[str]:
    from serial.tools import list_ports

    return [port.device for port in list_ports.comports() if port.vid is not None]


class Offered(click.ParamType):
    """Text as it is, with names that a shell offers; files too where `files`."""

    name = "text"

    def __init__(self, names: Callable[[], Iterable[str]], *, files: bool = False) -> None:
        self._names, self._files = names, files

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Names that begin with `incomplete`, then files if there may be some."""
        items = [CompletionItem(name) for name in self._names() if name.startswith(incomplete)]
        return items + ([CompletionItem(incomplete, type="file")] if self._files else [])


# By the name of the command's parameter.
OFFERS = {
    "board": Offered(boards),
    "model": Offered(models, files=True),
    "names": Offered(_bench_configs),
    "settings": Offered(_settings),
    "port": Offered(_ports),
}
NUMERICS = Offered(_presets, files=True)


def offer(command: click.Command) -> None:
    """Give the command's parameters what a shell offers for them."""
    for parameter in command.params:
        if parameter.type is click.STRING and parameter.name in OFFERS:
            parameter.type = OFFERS[parameter.name]
