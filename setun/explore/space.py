"""Which points there are: options of the chip, numerics, clocks, seeds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from setun.boards import Board
from setun.estimate.best import chips, free_space, shortage
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import requirements
from setun.firmware.numerics.options import PRESETS, Numerics

MOST_CLOCKS = 64
OWN = "usual"  # numerics that no preset has: what the board, the image or --set chose


@dataclass(frozen=True, kw_only=True)
class Space:
    """What is searched.

    Parameters
    ----------
    options
        Values of options of the chip, by name.
    fixed
        Options of `base` that were asked for: sizes among them stay.
    numerics
        Arithmetic by name.
    clocks_mhz
        The first is the estimator's.
    seeds
        Of nextpnr.
    """

    base: ChipConfig
    options: Mapping[str, Sequence[Any]]
    fixed: frozenset[str]
    numerics: Mapping[str, Numerics]
    clocks_mhz: tuple[float, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One chip, its memories as large as the model needs them; `config` None where refused.

    `chosen` are the values of `Space.options`.
    """

    chosen: dict[str, Any]
    numerics: str
    clock_mhz: float
    config: ChipConfig | None
    refused: str = ""


def name_of(numerics: Numerics) -> str:
    """The preset's name, else what tells it apart."""
    return next((name for name, each in PRESETS.items() if each == numerics), OWN)


def default_options(
    base: ChipConfig, board: Board, fixed: frozenset[str], varied: Mapping[str, Sequence[Any]]
) -> dict[str, Sequence[Any]]:
    """The search of `setun estimate --best`, with the values that were asked for."""
    return {**free_space(base, board, fixed), **varied}


def varied_values(text: str) -> tuple[str, tuple[Any, ...]]:
    """Name and values of "KEY=V,V": whole numbers, or words.

    Raises
    ------
    SetunError
        It is none, or the chip has no such option.
    """
    name, equals, found = text.partition("=")
    if not equals or not found:
        raise SetunError(f"--vary {text}", "must be KEY=VALUE,VALUE")
    if name == "clock_hz" or name in Numerics.__dataclass_fields__:
        other = "--clock" if name == "clock_hz" else "--numerics"
        raise SetunError(f"--vary {name}", "must be another option", "", f"use {other}")
    values = tuple(int(v) if v.isascii() and v.isdecimal() else v for v in found.split(","))
    for value in values:
        try:
            ChipConfig.from_dict({name: value})
        except SetunError as error:
            # What else is wrong with it may depend on other options; then points are refused.
            if error.thing == f"option {name}":
                raise
    return name, values


def clocks(text: str) -> tuple[float, ...]:
    """Clocks in MHz: "50", "50,56.25" or a range with a step, "50:60:5", its end included.

    Raises
    ------
    SetunError
        It is none of these, or they are too many.
    """
    try:
        if ":" in text:
            low, high, step = (float(part) for part in text.split(":"))
            if not (0 < low <= high < 1e4 and 0 < step):
                raise ValueError
            count = int((high - low) / step + 1e-6) + 1
            found = [low + k * step for k in range(min(count, MOST_CLOCKS + 1))]
        else:
            found = [float(part) for part in text.split(",")]
        if not all(0 < mhz < 1e4 for mhz in found):
            raise ValueError
    except ValueError:
        rule = "must be MHz, MHz,MHz or FROM:TO:STEP"
        raise SetunError("clock", rule, text, "--clock 50:60:5") from None
    if len(found) > MOST_CLOCKS:
        raise SetunError("clock", f"must be at most {MOST_CLOCKS} clocks", text)
    return tuple(dict.fromkeys(found))


def sized(image: Image, config: ChipConfig, fixed: frozenset[str]) -> ChipConfig:
    """`config` with memories just large enough for `image`, but for sizes that are `fixed`."""
    needed = requirements(image, config)
    for name in needed.keys() & fixed:
        if needed[name] > getattr(config, name):
            raise SetunError("model", "must fit the chip", f"{name} {needed[name]}")
    return config.override(**{k: n for k, n in needed.items() if k not in fixed})


def reason(error: SetunError) -> str:
    """Why, without the value: what points have in common that are refused for it."""
    return f"{error.thing} {error.rule}"


def at_clock(config: ChipConfig, clock_mhz: float, board: Board) -> ChipConfig:
    """The chip at another clock.

    Raises
    ------
    SetunError
        The board's PLL does not make it, or the UART's rate does not go with it.
    """
    board.fpga.check_clock(board.clock_mhz, clock_mhz, config.fast)
    return config.override(clock_hz=round(clock_mhz * 1e6))


def points(space: Space, image: Image, board: Board) -> Iterator[Point]:
    """Every chip at the first clock, in a fixed order; those that cannot be say why."""
    clock = space.clocks_mhz[0]
    for name, numerics in space.numerics.items():
        tried = chips(space.base, board, space.options, space.fixed, numerics=numerics)
        for chosen, found in tried:
            config, refused = None, ""
            if isinstance(found, SetunError):
                refused = reason(found)
            else:
                try:
                    board.check_memory(found)
                    config = sized(image, at_clock(found, clock, board), space.fixed)
                    if short := shortage(config, board):
                        config, refused = None, f"does not fit: {short}"
                except SetunError as error:
                    config, refused = None, reason(error)
            yield Point(
                chosen=chosen, numerics=name, clock_mhz=clock, config=config, refused=refused
            )
