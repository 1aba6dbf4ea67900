"""`setun run`: stream tokens from the golden model, the simulated chip or a board."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from setun.cli.chip_options import chip_for, chip_options, chosen_options, usual_numerics
from setun.cli.common import bar, json_option, port_options, stages
from setun.cli.options import chat_option, sampling_options
from setun.cli.streaming import play

if TYPE_CHECKING:
    from setun.backends import Sampling
    from setun.firmware.numerics.options import Numerics


@click.command()
@click.argument("model")
@click.option("--prompt", metavar="TEXT", help="Text to continue.")
@click.option("--prompt-ids", metavar="1,2,3", help="Token ids to continue.")
@chat_option
@click.option("-n", "count", type=int, default=200, show_default=True, help="Tokens.")
@click.option(
    "--backend",
    type=click.Choice(["golden", "sim", "serial", "axi"]),
    default="golden",
    show_default=True,
    help="Golden model, compiled simulation of the chip, a board, or a chip's mailbox.",
)
@port_options
@click.option(
    "--context",
    metavar="K",
    type=int,
    default=0,
    show_default=True,
    help="Conversation to run in, of those that the chip holds.",
)
@sampling_options()
@click.option(
    "--waves", metavar="FILE.fst", type=click.Path(path_type=Path), help="Record the simulation."
)
@chip_options
@json_option
def command(
    model: str,
    prompt: str | None,
    prompt_ids: str | None,
    chat: bool,
    count: int,
    backend: str,
    port: str | None,
    baud: int | None,
    context: int,
    sampling: "Sampling",
    waves: Path | None,
    config_file: Path | None,
    numerics: "Numerics | None",
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Stream tokens: golden model, simulated chip, board.

    MODEL is an image, a checkpoint folder or a shipped name (shakespeare).

    \b
    setun run shakespeare --prompt "ROMEO:" -n 300 --temperature 0.8
    setun run M.setun --prompt "ROMEO:" --backend sim
    setun run M.setun --prompt "ROMEO:" --backend serial
    setun run M.setun --prompt "ROMEO:" --backend axi --port /dev/uio0
    """
    from setun.backends import GoldenBackend, SerialBackend, SimulatedBackend
    from setun.backends.simulated import SIMULATED_CHIP, simulated_config
    from setun.firmware.errors import SetunError
    from setun.models.load import open_model
    from setun.talk.ports import find_port, named_port, usual_rates
    from setun.talk.session import prompt_ids as to_ids

    opened = open_model(model)
    image = opened.image
    tokens = to_ids(image, prompt, prompt_ids, chat)
    options = chosen_options(config_file, numerics, settings)
    if waves is not None and backend != "sim":
        raise SetunError("--waves", "needs --backend sim", backend)
    port = named_port(backend, port, baud)
    if context and backend == "golden":
        raise SetunError("--context", "must be 0 on the golden model", context)
    if backend == "golden":
        exact = chip_for(None, options, **usual_numerics(opened, options)).numerics
        play(image, GoldenBackend(image, exact), exact, tokens, count, sampling, as_json)
    elif backend == "sim":
        usual = {"packing": image.packing, **usual_numerics(opened, options), **SIMULATED_CHIP}
        config = simulated_config(chip_for(image, options, **usual))
        with stages() as start:
            chip = SimulatedBackend(image, config, context=context, waves=waves, progress=start)
        play(image, chip, config.numerics, tokens, count, sampling, as_json)
    else:
        rates = [baud] if baud else usual_rates()
        with bar("load model", 1) as step:
            board = SerialBackend(
                image, port or find_port(baud), rates, context=context, progress=_fraction(step)
            )
        if numerics not in (None, board.config.numerics):
            board.close()
            found = ", ".join(f"{k} {v}" for k, v in board.config.numerics.to_dict().items())
            rule = "must be those of the chip, which were chosen when it was built"
            raise SetunError("--numerics", rule, found, "leave it out, or build another chip")
        play(image, board, board.config.numerics, tokens, count, sampling, as_json)


def _fraction(step):  # type: ignore[no-untyped-def]
    shown = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal shown
        step(done / total - shown)
        shown = done / total

    return progress
