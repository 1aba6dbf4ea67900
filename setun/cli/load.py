"""`setun load`: another model on a running chip."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from setun.cli.common import bar, emit, json_option, port_options
from setun.firmware.errors import SetunError

if TYPE_CHECKING:
    from setun.backends.connect import ConnectedChip
    from setun.firmware.image.memory_layout import MemoryLayout
    from setun.firmware.link.mapped import Mapped


@click.command()
@click.argument("model")
@click.option(
    "--memory-map",
    "map_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="map.json of the chip's recipe: write its memory directly, beside its mailbox.",
)
@click.option("--verify", "only", is_flag=True, help="Write nothing: compare checksums.")
@port_options
@json_option
def command(
    model: str,
    map_file: Path | None,
    only: bool,
    port: str | None,
    baud: int | None,
    as_json: bool,
) -> None:
    """Put a model on a running chip, verified.

    MODEL is an image, a checkpoint folder or a shipped name (shakespeare). Nothing is written
    when it does not fit. A load that is cut short leaves a chip that refuses to generate, until
    a model is loaded again.

    With --verify the chip is asked for the CRC of each of its memories. That of an external memory
    is in the ports.json of `setun generate` too, for a memory that somebody else has filled.

    \b
    setun load shakespeare
    setun load shakespeare --verify
    setun load M.setun --port /dev/ttyUSB0
    setun load M.setun --port axi --memory-map map.json
    """
    from contextlib import ExitStack, closing

    from setun.backends.connect import ConnectedChip
    from setun.backends.loading import compare, differing, load, loaded_hash
    from setun.firmware.image.memory_layout import lay_out
    from setun.models.load import load_model
    from setun.talk.pairing import shipped_name
    from setun.talk.ports import find_port, usual_rates

    image = load_model(model)
    place = None if map_file is None else model_place(map_file, port)
    with ExitStack() as held:
        connected = ConnectedChip(port or find_port(baud), baud or usual_rates())
        chip = held.enter_context(closing(connected))
        layout = lay_out(image, chip.config)
        if only:
            crcs = compare(chip.client, layout)
            told = ", ".join(f"{name} {crc}" for name, crc in crcs.items())
            found = {"port": chip.port, "model_hash": image.model_hash, "crc32": crcs}
            emit(found, as_json, f"{model} is on the chip: CRC of {told}")
            return
        before = loaded_hash(chip.client, chip.config)
        there = before == image.model_hash and not differing(chip.client, layout, weights=True)
        if not there:
            memory = None
            if place is not None:
                memory = held.enter_context(closing(memory_of(chip, layout, place)))
            with bar(f"load {model}", layout.total) as step:
                load(chip.client, layout, steps_of(step), memory)
    result = {
        "port": chip.port,
        "model_hash": image.model_hash,
        "replaced": before,
        "written": not there,
        "bytes": 4 * layout.total,
    }
    old = shipped_name(before) or before or "no whole model"
    done = f"{model} is on the chip, verified ({result['bytes']} bytes); before: {old}"
    emit(result, as_json, f"{model} was on the chip already, verified" if there else done)


def model_place(map_file: Path, port: str | None) -> tuple[int, int]:
    """First byte and bytes of the model's place, as a recipe's map.json tells it.

    Raises
    ------
    SetunError
        It does not; `port` is no mailbox.
    """
    from setun.firmware.link.mapped import is_mailbox

    if port is None or not is_mailbox(port):
        rule = "needs a mailbox, on the processor beside the chip"
        raise SetunError("--memory-map", rule, f"--port {port}", "--port axi")
    try:
        told = json.loads(map_file.read_text("utf-8"))["model"]
        first, most = told["first_byte"], told["most"]
        if type(first) is not int or type(most) is not int:
            raise TypeError("first_byte and most must be whole numbers")
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        rule = "must be the map.json of setun generate --recipe"
        raise SetunError(f"--memory-map {map_file}", rule, why) from error
    return first, most


def memory_of(chip: "ConnectedChip", layout: "MemoryLayout", place: tuple[int, int]) -> "Mapped":
    """The model's place in the memory that a chip and its processor share."""
    from setun.firmware.image.memory_layout import Space
    from setun.firmware.link.mapped import open_memory

    first, most = place
    if not chip.config.external:
        rule = "needs a chip whose model lies outside it"
        raise SetunError("--memory-map", rule, chip.config.memory, "leave it out")
    size = 4 * layout.size(Space.WEIGHTS)
    if size > most:
        raise SetunError("model", f"must fit the {most} bytes of --memory-map", size)
    return open_memory(chip.port, first, size)


def steps_of(step: Callable[[int], None]) -> Callable[[int, int], None]:
    """Progress in (done, total) for a bar that counts steps."""
    shown = 0

    def progress(done: int, total: int) -> None:
        nonlocal shown
        step(done - shown)
        shown = done

    return progress
