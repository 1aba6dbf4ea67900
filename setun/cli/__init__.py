"""The `setun` command: one module per verb, imported when that verb is asked for."""

import importlib
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NamedTuple, NoReturn

import click

from setun import __version__
from setun.cli.caches import ensure_cache
from setun.firmware.errors import SetunError, nearest
from setun.streams import guard, settle, tell


class Verb(NamedTuple):
    """Where a verb lives: `module` holds a click command named `command`."""

    module: str
    help: str


VERBS: dict[str, Verb] = {
    "demo": Verb("setun.cli.demo", "Shipped model on the simulated chip, each token checked."),
    "run": Verb("setun.cli.run_", "Stream tokens: golden model, simulated chip, board."),
    "generate": Verb("setun.cli.generate", "Verilog of the chip, its ports and its configuration."),
    "build": Verb("setun.cli.build", "Bitstream and report for a board."),
    "estimate": Verb(
        "setun.cli.estimate",
        "LUTs, RAM, cycles, tokens a second, and whether it fits; no tool runs.",
    ),
    "explore": Verb(
        "setun.cli.explore", "The design space: estimated, the best few placed and routed."
    ),
    "flash": Verb("setun.cli.flash", "Put a built bitstream on its board."),
    "load": Verb("setun.cli.load", "Put a model on a running chip, verified."),
    "stream": Verb("setun.cli.stream", "Talk to a chip on a serial port."),
    "serve": Verb(
        "setun.cli.serve", "An OpenAI-style endpoint and a web page in front of a model."
    ),
    "bench": Verb("setun.cli.bench", "Cycles per token on RTL against the bandwidth bound."),
    "doctor": Verb("setun.cli.doctor", "Tools found, versions, what to install."),
    "boards": Verb(
        "setun.cli.boards", "Boards, capacity, memory, model sizes that fit, programmer, status."
    ),
    "train": Verb("setun.cli.train", "A ternary model from a text file."),
    "import": Verb("setun.cli.import_", "Checkpoint folder to image."),
    "inspect": Verb(
        "setun.cli.inspect", "Sections, sizes, program listing; family and tensors of a checkpoint."
    ),
    "eval": Verb("setun.cli.eval", "Loss: float and golden, top-1 agreement."),
    "logits": Verb("setun.cli.logits", "Logits of token ids."),
}


class LazyGroup(click.Group):
    """Lists verbs from `VERBS` without importing them, so that `--help` is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        command = importlib.import_module(verb.module).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{verb.module}.command is not a click command")
        from setun.cli.completion import offer

        offer(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            hint = nearest(args[0], VERBS)
            raise click.UsageError(f"{error.message} {hint}".strip(), ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="setun", message="%(prog)s %(version)s")
def cli() -> None:
    """Ternary language model in; Verilog, FPGA bitstream and a token stream out."""


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signum)


def _refuse(line: str, status: int) -> int:
    tell(f"setun: error: {line}")
    return status


def _usage_line(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    ctx = getattr(error, "ctx", None)
    if ctx is None:
        return message
    return f"{message} (see '{ctx.command_path} --help')"


def run(args: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status.

    0: done as asked; 1: refused or failed, one line on stderr, or nobody reads stdout any
    more; 2: wrong usage, one line; 130: interrupted.
    """
    return settle(_run(args))


def _run(args: Sequence[str] | None) -> int:
    try:
        ensure_cache(list(sys.argv[1:] if args is None else args))
        status = cli.main(args=args, prog_name="setun", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return _refuse(_usage_line(error), error.exit_code)
    except SetunError as error:
        return _refuse(str(error), 1)
    except (KeyboardInterrupt, click.Abort):
        return _refuse("interrupted", 130)
    except BrokenPipeError:
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        return _refuse(f"{error.filename}: {error.strerror}", 1)


def main() -> NoReturn:
    """Entry point of the `setun` command."""
    guard()
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run())
