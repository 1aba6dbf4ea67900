"""`setun load`: another model on a running chip."""

from collections.abc import Callable

import click

from setun.cli.common import bar, emit, json_option, port_options


@click.command()
@click.argument("model")
@port_options
@json_option
def command(model: str, port: str | None, baud: int | None, as_json: bool) -> None:
    """Put a model on a running chip, verified.

    MODEL is an image, a checkpoint folder or a shipped name (shakespeare). Nothing is written
    when it does not fit. A load that is cut short leaves a chip that refuses to generate, until
    a model is loaded again.

    \b
    setun load shakespeare
    setun load M.setun --port /dev/ttyUSB0
    """
    from contextlib import closing

    from setun.backends.connect import ConnectedChip
    from setun.backends.loading import differing, load, loaded_hash
    from setun.firmware.image.memory_layout import lay_out
    from setun.models.load import load_model
    from setun.talk.pairing import shipped_name
    from setun.talk.ports import find_port, usual_rates

    image = load_model(model)
    with closing(ConnectedChip(port or find_port(baud), baud or usual_rates())) as chip:
        layout = lay_out(image, chip.config)
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
