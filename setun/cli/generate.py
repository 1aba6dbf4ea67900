"""`setun generate`: the chip as Verilog, with its ports and configuration."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from setun.cli.chip_options import chip_for, chip_options, chosen_options, usual_numerics
from setun.cli.common import emit, json_option, stages
from setun.hw.fpga.families import FAMILIES, GENERIC

if TYPE_CHECKING:
    from setun.firmware.config import ChipConfig
    from setun.firmware.image.memory_layout import MemoryLayout
    from setun.firmware.numerics.options import Numerics
    from setun.hw.technology import Technology


def write_chip(
    out: Path, config: "ChipConfig", layout: "MemoryLayout | None", technology: "Technology"
) -> tuple[dict[str, Any], int]:
    """Write setun.v, ports.json, config.toml and weights.bin; the ports, and lines of Verilog.

    Raises
    ------
    SetunError
        The folder cannot be written.
    """
    from setun.firmware.image.memory_layout import Space
    from setun.firmware.outputs import make_folder, write_output
    from setun.hw.emit.verilog import chip_ports, chip_verilog

    text = chip_verilog(config, layout, technology)
    ports = chip_ports(config, technology)
    make_folder(out)
    write_output(out / "setun.v", text.encode())
    described: dict[str, Any] = dict(ports)
    if layout is not None and config.external:
        crc = 0

        def blocks() -> Iterator[bytes]:
            nonlocal crc
            for _, words in layout.blocks(Space.WEIGHTS):
                block = words.astype("<u4", copy=False).tobytes()
                crc = zlib.crc32(block, crc)
                yield block

        write_output(out / "weights.bin", blocks())
        described["memory"] = {**memory_map(layout), "crc32": f"{crc:08x}"}
        if config.external_bytes > config.memory_bytes:
            # Nothing need be there at first.
            described["memory"]["cache"] = {
                "first_byte": config.cache_base,
                "bytes": config.contexts * config.outer_bytes,
            }
    write_output(out / "ports.json", (json.dumps(described, indent=2) + "\n").encode())
    write_output(out / "config.toml", config.to_toml().encode())
    return ports, len(text.splitlines())


def memory_map(layout: "MemoryLayout") -> dict[str, Any]:
    """What weights.bin holds where: its size, and name, first byte and bytes of each region."""
    from setun.firmware.image.memory_layout import Space

    size = 4 * layout.size(Space.WEIGHTS)
    regions = [] if layout.external is None else layout.external.regions()
    return {
        "file": "weights.bin",
        "bytes": size,
        "regions": [{"name": r.name, "first_byte": r.start, "bytes": r.size} for r in regions],
    }


ANY = "generic-axi4"  # the board whose FPGA may be any


@click.command()
@click.option("-o", "out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--board", metavar="NAME", help="Take clock and baud rate from this board.")
@click.option("--recipe", metavar="TOOL", help="Leave a block design for TOOL: vivado.")
@click.option("--model", metavar="M", help="Size the memories for this model and put it in them.")
@click.option(
    "--technology",
    type=click.Choice(list(FAMILIES)),
    default=GENERIC.name,
    show_default=True,
    help="Cells that may be instantiated; generic ones are for any tool.",
)
@chip_options
@json_option
def command(
    out: Path,
    board: str | None,
    recipe: str | None,
    model: str | None,
    technology: str,
    config_file: Path | None,
    numerics: "Numerics | None",
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Verilog of the chip, its ports and its configuration.

    Writes setun.v (top module `setun`), ports.json and config.toml; the latter is what --config
    takes. Without a model the chip starts blank and is loaded over its link. With one, weights
    outside block RAM are in weights.bin, the whole memory's contents, and ports.json has its map
    and CRC. What the chip takes of an FPGA is told, and one that no
    FPGA holds, or none of the board's family, is refused. With --recipe vivado the board is one of
    kv260, arty-a7-100t, zybo-z7-20 and u250, and component.xml, Tcl for block design, bitstream and
    JTAG, address map and README are beside the Verilog; nobody has run them yet.

    \b
    setun generate -o out --model shakespeare
    setun generate -o out --set rows=16 --set packing=1.6b
    setun generate -o out --set memory=qspi --set flash_base=1048576
    setun generate -o out --recipe vivado --board kv260 --model shakespeare
    setun generate -o out --technology ice40 --set memory=spram --set columns=8 --set rows=4
    """
    from setun import boards, recipes
    from setun.estimate.room import check_cells, check_room, parts, told
    from setun.firmware.config import ChipConfig
    from setun.firmware.errors import SetunError
    from setun.firmware.image.memory_layout import lay_out
    from setun.firmware.outputs import check_folder, write_output
    from setun.hw.emit.verilog import TOP
    from setun.models.load import open_outline, whole_image

    check_folder(out)
    options = chosen_options(config_file, numerics, settings)
    defaults: dict[str, object] = {}
    image = opened = None
    if model is not None:
        opened = open_outline(model)
        image = opened.image
        defaults = {"packing": image.packing, **usual_numerics(opened, options)}
    if recipe is not None and technology != GENERIC.name:
        rule = f"must be {GENERIC.name} with --recipe"
        raise SetunError("technology", rule, technology, "leave it out")
    chosen = None if recipe is None else recipes.get(recipe, board)
    target = boards.get(board or ANY) if chosen is None else chosen.board()
    if board is not None:
        defaults |= {"clock_hz": round(target.chip_clock_mhz * 1e6), "baud": target.baud}
        defaults |= target.usual(options)
    if image is not None:
        base = ChipConfig.from_dict({**ChipConfig().to_dict(), **defaults, **options})
        check_room(image, base, target, set(options))
    config = chip_for(image, options, **defaults)
    needs, fpgas = check_cells(config, target), parts(config, target)
    if chosen is not None:
        chosen.check(config, fpgas)
    if opened is not None and model is not None:
        image = whole_image(opened, model)
    layout = None if image is None else lay_out(image, config)
    with stages() as start:
        start("generate Verilog")
        ports, lines = write_chip(out, config, layout, FAMILIES[technology].technology)
        if chosen is not None:
            for name, text in recipes.files(chosen, config, ports).items():
                write_output(out / name, text.encode())
    result = {
        "top": TOP,
        "verilog": str(out / "setun.v"),
        "ports": ports,
        "config": config.to_dict(),
        "model_hash": None if image is None else image.model_hash,
        "needs": needs,
        "parts": fpgas,
    }
    first = f"{out / 'setun.v'}: top {TOP}, {lines} lines"
    emit(result, as_json, lambda: f"{first}\n{told(needs, fpgas)}")
