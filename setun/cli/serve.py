"""`setun serve`: a model behind an OpenAI-style endpoint and a web page."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from setun.cli.chip_options import chip_for, chip_options, chosen_options, usual_numerics
from setun.cli.common import emit, json_option, stages
from setun.firmware.errors import SetunError

if TYPE_CHECKING:
    from setun.firmware.image.image import Image
    from setun.firmware.numerics.options import Numerics
    from setun.serve.opening import Openers

CONTEXTS = 4  # unless a board has others
HINT = "pip install 'setun[serve]'"


@click.command()
@click.argument("model", default="shakespeare")
@click.option(
    "--backend",
    type=click.Choice(["golden", "sim", "serial", "axi"]),
    default="golden",
    show_default=True,
    help="Golden model, compiled simulation of the chip, boards, or chips' mailboxes.",
)
@click.option(
    "--port", "ports", metavar="PORT", multiple=True, help="Serial port; may be repeated."
)
@click.option("--baud", type=int, metavar="RATE", help="Its bit rate; default those of the boards.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--listen", type=int, default=8080, show_default=True, help="Port; 0 for a free one.")
@click.option(
    "--token",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Clients must send the token in this file.",
)
@click.option("--verify", is_flag=True, help="Check every token against the golden model.")
@click.option("--cors", "origins", metavar="ORIGIN", multiple=True, help="Site that may ask.")
@click.option(
    "--max-tokens", type=int, default=1024, show_default=True, help="Tokens of an answer at most."
)
@click.option(
    "--max-prompt", type=int, default=8192, show_default=True, help="Tokens of a prompt at most."
)
@click.option("--queue", type=int, default=64, show_default=True, help="Answers that may wait.")
@chip_options
@json_option
def command(
    model: str,
    backend: str,
    ports: tuple[str, ...],
    baud: int | None,
    host: str,
    listen: int,
    token: Path | None,
    verify: bool,
    origins: tuple[str, ...],
    max_tokens: int,
    max_prompt: int,
    queue: int,
    config_file: Path | None,
    numerics: "Numerics | None",
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """An OpenAI-style endpoint and a web page in front of a model.

    MODEL is an image, a checkpoint folder or a shipped name (shakespeare). Conversations run at
    once in the chip's contexts; the next wait in order. Ctrl-C ends it.

    \b
    setun serve
    setun serve M.setun --backend sim --set contexts=4
    setun serve M.setun --backend serial --port /dev/ttyUSB0 --port /dev/ttyUSB1
    """
    try:
        from setun.serve.app import application
        from setun.serve.server import LOCAL, Server, listening, read_token, url_of
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise SetunError("setun serve", "needs a web server", f"no {error.name}", HINT) from None
    from setun.serve.opening import open_boards
    from setun.serve.pool import Pool
    from setun.serve.service import Limits, Service
    from setun.talk.ports import named_port

    secret = None if token is None else read_token(token)
    if secret is None and host not in LOCAL:
        rule = "must be 127.0.0.1 where anybody may ask"
        raise SetunError("--host", rule, host, "--token FILE lets only who knows it ask")
    limits = Limits(
        prompt=_within("--max-prompt", max_prompt, 1, 1 << 20),
        tokens=_within("--max-tokens", max_tokens, 1, 0xFFFF),
        queue=_within("--queue", queue, 0, 10_000),
    )
    ports = tuple(
        named for port in ports or (None,) if (named := named_port(backend, port, baud)) is not None
    )
    with listening(host, _within("--listen", listen, 0, 0xFFFF)) as sock:
        options = chosen_options(config_file, numerics, settings)
        pool = Pool(limits.queue)
        with stages() as start:
            image, openers = _openers(model, backend, ports, baud, options, start)
            boards = open_boards(image, openers, pool)
        service = Service(image, pool, boards, limits, verify=verify, kind=backend)
        hosts = None if secret else frozenset([*LOCAL, "[::1]"])
        app = application(service, token=secret, hosts=hosts, origins=origins)
        told = {"model": image.name, "backend": backend, "url": url_of(sock)}
        emit(told, as_json, f"{image.name} on {told['url']}")
        sys.stdout.flush()
        Server(app, pool, boards).serve_on(sock)


def _within(name: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise SetunError(name, f"must be from {low} to {high}", value)
    return value


def _openers(
    model: str,
    backend: str,
    ports: tuple[str, ...],
    baud: int | None,
    options: dict[str, Any],
    progress: Callable[[str], None],
) -> "tuple[Image, Openers]":
    """The model, and what opens each of its boards."""
    from setun.backends.simulated import SIMULATED_CHIP, simulated_config
    from setun.models.load import open_model
    from setun.serve import opening
    from setun.talk.ports import find_port, usual_rates

    progress("read model")
    opened = open_model(model)
    image = opened.image
    if backend in ("serial", "axi"):
        if options:
            rule = "need another backend: a board's chip was chosen when it was built"
            raise SetunError("options of the chip", rule, ", ".join(options), "leave them out")
        rates = [baud] if baud else usual_rates()
        return image, opening.serial(image, ports, rates, lambda: find_port(baud))
    usual = {"contexts": CONTEXTS, **usual_numerics(opened, options)}
    if backend == "golden":
        chip = chip_for(None, options, **usual)
        return image, opening.golden(image, chip.numerics, chip.contexts)
    usual = {"packing": image.packing, **usual, **SIMULATED_CHIP}
    config = simulated_config(chip_for(image, options, **usual))
    return image, opening.simulated(image, config, progress)
