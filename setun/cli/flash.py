"""`setun flash`: a built bitstream onto its board."""

from pathlib import Path

import click

from setun.cli.common import emit, json_option, stages


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--board", required=True, metavar="NAME", help="See `setun boards`.")
@click.option(
    "--to",
    type=click.Choice(["sram", "flash"]),
    default="sram",
    show_default=True,
    help="The FPGA until its power goes, or the board's flash.",
)
@click.option("--serial", metavar="NUMBER", help="Of several boards, by its USB serial number.")
@click.option("--bus", metavar="BUS:DEVICE", help="Of several boards, by its place on USB.")
@click.option("--dry-run", is_flag=True, help="Print the commands; run none.")
@json_option
def command(
    out: Path,
    board: str,
    to: str,
    serial: str | None,
    bus: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put a built bitstream on its board.

    OUT is a folder that `setun build` wrote. Weights of a chip that reads them from flash are
    written there first.

    \b
    setun flash --board ulx3s-85f out
    setun flash --board ulx3s-85f --to flash out
    setun flash --board ulx3s-85f --serial K00123 out
    setun flash --board ulx3s-85f --dry-run out
    """
    import shlex

    from setun import boards
    from setun.boards.flashing import (
        Chosen,
        find_loader,
        loader_version,
        open_build,
        plan,
        program,
    )

    target = boards.get(board)
    built = open_build(out, target)
    commands = plan(target, built, to, Chosen(serial, bus))
    shown = [shlex.join(words) for words in commands]
    if not dry_run:
        loader_version(find_loader(commands[0][0]))
        with stages() as start:
            for words in commands:
                place = "flash" if "--write-flash" in words else "SRAM"
                start(f"write {Path(words[-1]).name} to {place}")
                program(words)
    result = {"board": board, "to": to, "commands": shown, "run": not dry_run}
    done = f"{board}: {built.bitstream} is in its {'SRAM' if to == 'sram' else 'flash'}"
    emit(result, as_json, "\n".join(shown) if dry_run else done)
