"""`setun generate`: the chip as Verilog, with its ports and configuration."""

import json
from pathlib import Path

import click

from setun.cli.chip_options import chip_for, chip_options, chosen_options
from setun.cli.common import emit, json_option, stages


@click.command()
@click.option("-o", "out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--board", metavar="NAME", help="Take clock and baud rate from this board.")
@click.option("--model", metavar="M", help="Size the memories for this model and put it in them.")
@chip_options
@json_option
def command(
    out: Path,
    board: str | None,
    model: str | None,
    config_file: Path | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Verilog of the chip, its ports and its configuration.

    Writes setun.v (top module `setun`), ports.json and config.toml; the latter is what --config
    takes. Without a model the chip starts blank and is loaded over its link.

    \b
    setun generate -o out --model shakespeare
    setun generate -o out --set rows=16 --set packing=1.6b
    """
    from setun import boards
    from setun.firmware.container import write_atomically
    from setun.firmware.errors import SetunError
    from setun.firmware.placement import place
    from setun.hw.verilog import TOP, chip_ports, chip_verilog
    from setun.models.load import load_model

    options = chosen_options(config_file, settings)
    image = None if model is None else load_model(model)
    defaults: dict[str, object] = {} if image is None else {"packing": image.packing}
    if board is not None:
        found = boards.get(board)
        defaults |= found.chip | {"clock_hz": round(found.chip_clock_mhz * 1e6), "baud": found.baud}
    config = chip_for(image, options, **defaults)
    placement = None if image is None else place(image, config)
    with stages() as start:
        start("generate Verilog")
        text = chip_verilog(config, placement)
    ports = chip_ports(config)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / "setun.v", text.encode())
        write_atomically(out / "ports.json", (json.dumps(ports, indent=2) + "\n").encode())
        write_atomically(out / "config.toml", config.to_toml().encode())
    except OSError as error:
        raise SetunError(f"folder {out}", "must be writable", error.strerror) from error
    result = {
        "top": TOP,
        "verilog": str(out / "setun.v"),
        "ports": ports,
        "config": config.to_dict(),
        "model_hash": None if image is None else image.model_hash,
    }
    emit(result, as_json, lambda: f"{out / 'setun.v'}: top {TOP}, {len(text.splitlines())} lines")
