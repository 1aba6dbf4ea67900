"""`setun build --reuse`: another model in a finished bitstream."""

import hashlib
import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from setun.cli.common import emit, stages
from setun.firmware.errors import SetunError

TAKEN = {"reuse", "board", "model", "out", "as_json"}


def check_alone(context: click.Context) -> None:
    """Refuse options of `setun build` that would make another chip."""
    for parameter in context.command.params:
        name = parameter.name
        if name is None or name in TAKEN:
            continue
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise SetunError(
                "--reuse",
                "must stand without options of the chip or its placement",
                max(parameter.opts, key=len),
                "leave it out, or build without --reuse",
            )


def reuse(folder: Path, board: str | None, model: str, out: Path, as_json: bool) -> None:
    """Write to `out` the build of `folder` with another model; see `setun.hw.fpga.flow.reuse`."""
    from setun import boards
    from setun.boards.flashing import WEIGHTS, weights_for_flash
    from setun.estimate.chip import estimate
    from setun.firmware.image.memory_layout import lay_out
    from setun.firmware.image.model_hash import work_hash
    from setun.firmware.outputs import write_output
    from setun.hw.fpga.flow.reuse import finished_build, put_model
    from setun.models.load import open_model

    finished = finished_build(folder, "setun")
    target = boards.get(finished.report["board"])
    if board not in (None, target.name):
        raise SetunError(f"--board with --reuse {folder}", f"must be {target.name}", board)
    config = finished.config
    image = open_model(model).image
    layout = lay_out(image, config)
    weights = weights_for_flash(layout, config)
    # Of models with other work nothing is known before they run.
    alike = work_hash(image) == finished.work
    extra: dict[str, Any] = {
        "model": model,
        "model_hash": image.model_hash,
        "reused": str(folder),
        "config": config.to_dict(),
        "estimate": estimate(image, config, target).to_dict(),
        **({"weights_sha256": hashlib.sha256(weights).hexdigest()} if weights else {}),
        **({} if alike else {"cycles_per_token": None, "tokens_per_second": None}),
    }
    with stages() as start:
        report = put_model(finished, layout, out, extra=extra, progress=start)
    if weights:
        write_output(out / WEIGHTS, weights)
    write_output(out / "config.toml", config.to_toml().encode())
    emit(report, as_json, lambda: json.dumps(report, indent=2))
