"""`setun stream`: talk to a chip on a serial port."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from setun.cli.common import emit, json_option, port_options
from setun.cli.options import chat_option, sampling_options
from setun.firmware.errors import SetunError

if TYPE_CHECKING:
    from setun.backends.base import Sampling

HINT = "Ctrl-C stops an answer, or leaves; an empty line starts afresh"


@click.command()
@port_options
@click.option("--model", metavar="M", help="The model on the chip, unless it is a shipped one.")
@click.option("--prompt", metavar="TEXT", help="One answer to this, then leave.")
@click.option("-n", "count", type=int, default=200, show_default=True, help="Tokens of an answer.")
@chat_option
@sampling_options()
@click.option(
    "--context",
    metavar="K",
    type=int,
    default=0,
    show_default=True,
    help="Conversation to run in, of those that the chip holds.",
)
@json_option
def command(
    port: str | None,
    baud: int | None,
    model: str | None,
    prompt: str | None,
    count: int,
    chat: bool,
    sampling: "Sampling",
    context: int,
    as_json: bool,
) -> None:
    """Talk to a chip on a serial port.

    Each line typed, or read from a pipe, goes on with the same conversation; answer k is sampled
    with seed + k. The model is the one on the chip: another is refused. At a terminal an
    unplugged board is waited for. With --chat each line is a message, and the chip reads what the
    model's chat template makes of it.

    \b
    setun stream
    setun stream --port /dev/ttyUSB0 --model M.setun
    setun stream --temperature 0.8 --seed 7
    echo "ROMEO:" | setun stream -n 300
    """
    from setun.backends.connect import check_count
    from setun.cli.talk import Talk

    check_count(count)
    asked = prompt is None and sys.stdin.isatty()
    with contextlib.closing(
        Talk(port, baud, model, context, as_json, waits=asked, chat=chat)
    ) as talk:
        if asked:
            click.echo(HINT, err=True)
        for line in [prompt] if prompt is not None else typed() if asked else piped():
            try:
                if line or prompt is not None:
                    talk.answer(line, count, sampling)
                else:
                    talk.restart()
            except SetunError as error:
                if not asked:
                    raise
                click.echo(f"setun: error: {error}", err=True)
    if as_json:
        emit(talk.results[0] if prompt is not None else {"answers": talk.results}, True, "")


def typed() -> Iterator[str]:
    """Lines from the terminal, until its end or Ctrl-C."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # gives `input` editing and a history
    while True:
        try:
            if sys.stdout.isatty():
                with _interrupt_as_key():
                    line = input("> ")
            else:
                click.echo("> ", nl=False, err=True)
                line = input()
        except (EOFError, KeyboardInterrupt):
            click.echo(err=True)
            return
        except UnicodeDecodeError as error:
            raise SetunError("line", "must be text in the terminal's encoding", error) from error
        yield line


@contextlib.contextmanager
def _interrupt_as_key() -> Iterator[None]:
    """Ctrl-C as a key of GNU readline that clears the line and ends the input.

    As a signal it is lost, until the next key, if it comes when the prompt is there and readline
    does not wait yet.
    """
    try:
        import readline
        import termios
    except ImportError:
        yield
        return
    if not sys.stdin.isatty() or "libedit" in (readline.__doc__ or ""):
        yield
        return
    readline.parse_and_bind(r'"\C-c": "\C-a\C-k\C-d"')
    terminal = sys.stdin.fileno()
    usual = termios.tcgetattr(terminal)
    special = list(usual[6])
    special[termios.VINTR] = bytes([os.fpathconf(terminal, "PC_VDISABLE")])
    termios.tcsetattr(terminal, termios.TCSANOW, [*usual[:6], special])
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, usual)


def piped() -> Iterator[str]:
    """Lines of stdin without their ends."""
    try:
        for line in sys.stdin:
            yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise SetunError("stdin", "must be text", error) from error
    except OSError as error:
        raise SetunError("stdin", "must be readable", error.strerror, "--prompt TEXT") from error
