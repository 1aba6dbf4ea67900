"""`setun demo`: the shipped model on a simulated chip."""

from typing import TYPE_CHECKING

import click

from setun.cli.chip_options import chip_for
from setun.cli.common import json_option, stages
from setun.cli.options import sampling_options
from setun.cli.streaming import play

if TYPE_CHECKING:
    from setun.backends import Sampling

PROMPT = "ROMEO:"


@click.command()
@click.option("-n", "count", type=int, default=300, show_default=True, help="Tokens.")
@sampling_options(temperature=0.7, seed=2)
@json_option
def command(count: int, sampling: "Sampling", as_json: bool) -> None:
    """Shipped model on the simulated chip, each token checked.

    Compiles the chip's RTL with Verilator (once), runs it behind a virtual serial port, streams
    what the model writes and compares every token with the golden model.

    \b
    setun demo
    setun demo -n 60 --temperature 0
    """
    from setun.backends import SimulatedBackend
    from setun.backends.simulated import SIMULATED_CHIP, simulated_config
    from setun.models.load import load_model
    from setun.talk.session import prompt_ids

    image = load_model("shakespeare")
    tokens = prompt_ids(image, PROMPT, None)
    config = simulated_config(chip_for(image, {}, **SIMULATED_CHIP))
    with stages() as start:
        chip = SimulatedBackend(image, config, progress=start)
    play(image, chip, config.numerics, tokens, count, sampling, as_json, heading=PROMPT)
