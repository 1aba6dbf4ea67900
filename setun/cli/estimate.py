"""`setun estimate`: what a chip costs and how fast it is, before any tool runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from setun.cli.chip_options import chip_for, chip_options, chosen_options, usual_numerics
from setun.cli.common import emit, json_option, table

if TYPE_CHECKING:
    from setun.estimate.chip import Estimate
    from setun.firmware.numerics.options import Numerics


@click.command()
@click.option("--board", required=True, metavar="NAME", help="See `setun boards`.")
@click.option("--model", metavar="M", help="Model on the chip.  [default: the board's]")
@click.option("--clock", type=float, metavar="MHZ", help="Clock of the chip; default the board's.")
@click.option("--best", "choose", is_flag=True, help="Choose the chip of most tokens a second.")
@click.option(
    "--position",
    type=click.IntRange(0),
    metavar="N",
    help="Tokens before the one that is estimated, of a model that attends.  [default: 127]",
)
@chip_options
@json_option
def command(
    board: str,
    model: str | None,
    clock: float | None,
    choose: bool,
    position: int | None,
    config_file: Path | None,
    numerics: "Numerics | None",
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """LUTs, RAM, cycles, tokens a second, and whether it fits; no tool runs.

    The chip is the board's, with what is set. Where nothing is set and the model does not fit it,
    or with --best, it is the one that makes most tokens a second of those that fit (the smallest of
    those within 3 %), and the options that ask `setun build` for it are told; what is set stays.
    For the board generic-axi4 cells are as on an ECP5, and FPGAs that have them are named.
    Where nothing is set and a faster chip fits, that one is told too. Whether the clock is reached
    only place and route knows.

    \b
    setun estimate --board ulx3s-85f --model shakespeare
    setun estimate --board ulx3s-25f --set lanes=1
    setun estimate --board ulx3s-45f --model M.setun --best
    setun estimate --board generic-axi4 --model M.setun --position 1024
    """
    from setun import boards
    from setun.estimate.best import best, faster
    from setun.estimate.best import settings as told
    from setun.estimate.chip import estimate
    from setun.estimate.room import check_room
    from setun.firmware.config import ChipConfig
    from setun.models.load import open_outline

    target = boards.get(board)
    mhz = target.chip_clock_mhz if clock is None else clock
    model = model or target.model
    opened = open_outline(model)
    image = opened.image
    options = chosen_options(config_file, numerics, settings)
    usual = {"packing": image.packing, "clock_hz": round(mhz * 1e6), "baud": target.baud}
    usual |= usual_numerics(opened, options) | target.usual(options)
    base = ChipConfig.from_dict({**ChipConfig().to_dict(), **usual, **options})
    target.check_memory(base)
    usable = check_room(image, base, target, set(options), choose=choose or not options)
    found = None
    if base.memory in usable:
        found = estimate(image, chip_for(image, options, **usual), target)
    telling = found is None or choose or (not options and not found.fits)
    if found is None or telling:
        found = best(image, found.config if found else base, target, set(options))
    if position is not None:
        found = estimate(image, found.config, target, position)
    chosen = told(found.config, target) if telling else None
    other = None if telling or options or not target.has_fpga else faster(found, image, target)
    better = None
    if other is not None:
        better = {**other.to_dict(), "chosen": told(other.config, target)}
    result = {
        "board": board,
        "model": model,
        "clock_mhz": mhz,
        **found.to_dict(),
        "chosen": chosen,
        "faster": better,
        "config": found.config.to_dict(),
    }
    emit(result, as_json, lambda: _text(result, found, chosen, better))


def _text(
    result: dict[str, object],
    found: "Estimate",
    chosen: list[str] | None,
    better: dict[str, Any] | None,
) -> str:
    from setun import boards
    from setun.hw.fpga.family import WORDS

    c, hz = found.config, found.config.clock_hz
    board = boards.get(str(result["board"]))
    kind = board.fpga
    every = found.utilisation
    if found.memory_bytes:
        every["memory_bytes"] = found.memory_bytes
    available = "available" if board.has_fpga else "most of an FPGA"
    rows: list[dict[str, object]] = [
        {
            "": kind.called(name),
            "needed": f"{every[name][0]:,}",
            available: f"{every[name][1]:,}",
            "used": f"{every[name][0] / max(1, every[name][1]):.0%}",
        }
        for name in WORDS
        if name in every
    ]
    speeds: list[dict[str, object]] = [
        {"streams": n, "cycles/token": f"{cycles:,.0f}", "tokens/s": f"{hz / cycles:,.0f}"}
        for n, cycles in found.cycles.items()
    ]
    lines = [
        f"{result['model']} on {result['board']} at {result['clock_mhz']:g} MHz: {c.columns} x "
        f"{c.rows} MACs, {c.lanes} lanes, {c.contexts} contexts, {c.packing}, {c.memory}"
    ]
    lines += ["", table(rows, ["", "needed", available, "used"])]
    if found.anywhere is not None:
        lines.append(f"RAM on the FPGA: {found.anywhere['ram_bits'] / 1e6:.2f} Mbit")
    lines += ["", table(speeds, ["streams", "cycles/token", "tokens/s"])]
    lines += ["", f"loaded over the UART in {found.load_seconds:.1f} s"]
    if found.short:
        short = ", ".join(
            f"{kind.called(k)} {n:,} of {most:,}" for k, (n, most) in found.short.items()
        )
        lines.append(f"does not fit: {short} (--best chooses a chip)")
    elif not found.memory_fits:
        lines.append(f"does not fit: the weights are too many for the {c.memory}")
    elif found.parts is not None:
        lines.append(f"fits {', '.join(found.parts)}" if found.parts else "fits no FPGA known")
    else:
        lines.append("fits")
    if chosen is not None:
        options = " ".join(chosen)
        lines.append(f"chosen: {options or 'the chip of the board as it is'}")
    if better is not None:
        rate, options = better["tokens_per_second"], " ".join(better["chosen"])
        lines.append(f"faster: {rate:,.0f} tokens/s with {options}")
    return "\n".join(lines)
