"""`setun build`: a bitstream for a board."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from setun.cli.chip_options import chip_for, chip_options, chosen_options, usual_numerics
from setun.cli.common import emit, json_option, stages

if TYPE_CHECKING:
    from setun.boards import Board
    from setun.estimate.chip import Estimate
    from setun.firmware.config import ChipConfig
    from setun.firmware.image.image import Image
    from setun.firmware.numerics.options import Numerics


MEASURED_TOKENS = 4  # cycles per token do not depend on the data


@click.command()
@click.option("--board", metavar="NAME", help="See `setun boards`.")
@click.option("-o", "out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--model", metavar="M", help="Model in the bitstream.  [default: the board's]")
@click.option(
    "--reuse",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Put the model into the bitstream of an earlier build.",
)
@click.option("--clock", type=float, metavar="MHZ", help="Clock of the chip; default the board's.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the placement.")
@click.option("--seeds", type=int, default=1, show_default=True, help="Placements to try.")
@click.option("--allow-timing-fail", is_flag=True, help="Keep a bitstream that misses its clock.")
@click.option("--dry-run", is_flag=True, help="Check and write the design; run no tool.")
@chip_options
@json_option
@click.pass_context
def command(
    context: click.Context,
    board: str | None,
    out: Path,
    model: str | None,
    reuse: Path | None,
    clock: float | None,
    seed: int,
    seeds: int,
    allow_timing_fail: bool,
    dry_run: bool,
    config_file: Path | None,
    numerics: "Numerics | None",
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Bitstream and report for a board.

    Writes setun.bit (setun.bin for an iCE40) and report.json, and weights.bin for a chip that reads
    flash; for the board generic-axi4 what `setun generate` writes, and a report. The model is in
    the bitstream's
    memories; any other model that fits them can be loaded over the link later, or put into the
    bitstream with --reuse, which takes seconds. Missed timing is an error.

    \b
    setun build --board ulx3s-85f -o out
    setun build --board ulx3s-85f --model M.setun --clock 60 --seeds 4 -o out
    setun build --reuse out --model M.setun -o other
    """
    if reuse is not None:
        from setun.cli.reuse import check_alone
        from setun.cli.reuse import reuse as put

        check_alone(context)
        if model is None:
            raise click.MissingParameter(ctx=context, param_hint="--model", param_type="option")
        put(reuse, board, model, out, as_json)
        return
    if board is None:
        raise click.MissingParameter(ctx=context, param_hint="--board", param_type="option")
    from setun import boards
    from setun.bench.measure import measure
    from setun.boards.building import parts
    from setun.boards.flashing import WEIGHTS, weights_for_flash
    from setun.estimate.chip import estimate
    from setun.estimate.room import check_cells, check_room
    from setun.firmware.config import ChipConfig
    from setun.firmware.outputs import check_folder, make_folder, write_output
    from setun.hw.emit.resources import block_ram, check_block_ram
    from setun.hw.fpga.flow.bitstream import build_bitstream, design_for
    from setun.models.load import open_outline, whole_image

    target = boards.get(board)
    mhz = target.chip_clock_mhz if clock is None else clock
    model = model or target.model
    opened = open_outline(model)
    image = opened.image
    usual = {"packing": image.packing, "clock_hz": round(mhz * 1e6), "baud": target.baud}
    options = chosen_options(config_file, numerics, settings)
    usual |= usual_numerics(opened, options) | target.usual(options)
    base = ChipConfig.from_dict({**ChipConfig().to_dict(), **usual, **options})
    target.check_memory(base)
    check_room(image, base, target, set(options))
    config = chip_for(image, options, **usual)
    expected = estimate(image, config, target)
    if target.has_fpga:
        check_block_ram(config, target.fpga, target.capacity, board)
    else:
        check_cells(config, target)
    image = whole_image(opened, model)
    if not target.has_fpga:
        _write_verilog(target, out, model, image, config, expected, dry_run, as_json)
        return
    target.fpga.check_clock(target.clock_mhz, mhz, config.fast)
    made = parts(image, config, target)
    weights = weights_for_flash(made.contents, config)
    config_text = config.to_toml().encode()
    if dry_run:
        design = design_for(made.chip, target, name="setun", clock_mhz=mhz, pump=config.fast)
        make_folder(out)
        write_output(out / "setun.il", design.rtlil.encode())
        pins = f"setun.{target.fpga.flow().constraints}"
        write_output(out / pins, design.constraints.encode())
        write_output(out / "config.toml", config_text)
        plan = {
            "board": board,
            "clock_mhz": mhz,
            "config": config.to_dict(),
            "block_ram": [block_ram(config, target.fpga), target.capacity["block_ram"]],
            "estimate": expected.to_dict(),
        }
        emit(plan, as_json, lambda: f"{out}: setun.il, {pins}, config.toml; no tool was run")
        return
    check_folder(out)
    with stages() as start:
        start("measure cycles per token")
        measured = measure(board, model, image, config, MEASURED_TOKENS)[-1]
        report = build_bitstream(
            made.chip,
            target,
            name="setun",
            out=out,
            clock_mhz=mhz,
            pump=config.fast,
            seed=seed,
            seeds=seeds,
            progress=start,
            allow_timing_fail=allow_timing_fail,
            model=made.model,
            extra={
                "streams": measured.streams,
                "cycles_per_token": measured.cycles_per_token,
                "tokens_per_second": mhz * 1e6 / measured.cycles_per_token,
                "model": model,
                "model_hash": image.model_hash,
                "config": config.to_dict(),
                "estimate": expected.to_dict(),
                **({"weights_sha256": hashlib.sha256(weights).hexdigest()} if weights else {}),
            },
        )
    if weights:
        write_output(out / WEIGHTS, weights)
    write_output(out / "config.toml", config_text)
    emit(report, as_json, lambda: json.dumps(report, indent=2))


def _write_verilog(
    board: "Board",
    out: Path,
    model: str,
    image: "Image",
    config: "ChipConfig",
    expected: "Estimate",
    dry_run: bool,
    as_json: bool,
) -> None:
    """Where there is no FPGA: the chip as Verilog, blank memories, and what is known of it."""
    from setun.bench.measure import measure
    from setun.cli.generate import write_chip
    from setun.firmware.outputs import check_folder, write_output

    plan: dict[str, Any] = {
        "board": board.name,
        "flow": "verilog",
        "clock_mhz": config.clock_hz / 1e6,
        "config": config.to_dict(),
    }
    if dry_run:
        plan["estimate"] = expected.to_dict()
        emit(plan, as_json, lambda: f"{board.name}: Verilog only; nothing was written")
        return
    from setun.firmware.image.memory_layout import lay_out

    check_folder(out)
    with stages() as start:
        start("measure cycles per token")
        found = measure(board.name, model, image, config, MEASURED_TOKENS)[-1]
        start("generate Verilog")
        ports, _ = write_chip(out, config, lay_out(image, config), board.fpga.technology)
    report = {
        **plan,
        "verilog": str(out / "setun.v"),
        "ports": ports,
        "timing_met": None,
        "utilisation": None,
        "streams": found.streams,
        "cycles_per_token": found.cycles_per_token,
        "tokens_per_second": config.clock_hz / found.cycles_per_token,
        "model": model,
        "model_hash": image.model_hash,
        "estimate": expected.to_dict(),
    }
    write_output(out / "report.json", (json.dumps(report, indent=2) + "\n").encode())
    emit(report, as_json, lambda: json.dumps(report, indent=2))
