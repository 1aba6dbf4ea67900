"""`setun load`: another model on a running chip."""

from collections.abc import Callable

import click

from setun.cli.common import bar, emit, json_option, port_options


@click.command()
@click.argument("model")
@click.option("--verify", "only", is_flag=True, help="Write nothing: compare checksums.")
@port_options
@json_option
def command(model: str, only: bool, port: str | None, baud: int | None, as_json: bool) -> None:
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
    """
    from contextlib import closing

    from setun.backends.connect import ConnectedChip
    from setun.backends.loading import compare, differing, load, loaded_hash
    from setun.firmware.image.memory_layout import lay_out
    from setun.models.load import load_model
    from setun.talk.pairing import shipped_name
    from setun.talk.ports import find_port, usual_rates

    image = load_model(model)
    with closing(ConnectedChip(port or find_port(baud), baud or usual_rates())) as chip:
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
            with bar(f"load {model}", layout.total) as step:
                load(chip.client, layout, steps_of(step))
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


def steps_of(step: Callable[[int], None]) -> Callable[[int, int], None]:
    """Progress in (done, total) for a bar that counts steps."""
    shown = 0

    def progress(done: int, total: int) -> None:
        nonlocal shown
        step(done - shown)
        shown = done

    return progress
