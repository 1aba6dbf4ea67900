"""`python docs/make/stream_picture.py --plot docs/stream.svg`: a terminal in which a chip streams.

The text is the golden model's, which the chip's RTL equals on every bit; sampled by the seed that
`setun demo` uses, so it is what the demo begins with.
"""

import io
from pathlib import Path

from setun.backends import GoldenBackend, Sampling
from setun.firmware.numerics.options import Numerics
from setun.firmware.outputs import write_output
from setun.models.load import open_model
from setun.programs import parser, run

COMMAND = "setun demo"
MODEL, PROMPT, TEMPERATURE, SEED = "shakespeare", "ROMEO:", 0.7, 2  # of the demo
TOKENS = 300
WIDTH = 72  # columns of the terminal
# Rich's own asks a server for a font.
TEMPLATE = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: "Fira Code", "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def text() -> str:
    """Prompt and continuation, as `setun demo` prints them."""
    model = open_model(MODEL)
    tokenizer, backend = model.tokenizer(), GoldenBackend(model.image, Numerics())
    sampling = Sampling(temperature=TEMPERATURE, seed=SEED)
    tokens = backend.generate(tokenizer.encode(PROMPT), TOKENS, sampling)
    return PROMPT + tokenizer.decode(list(tokens))


def picture(shown: str) -> str:
    """An SVG of a terminal in which `COMMAND` has printed this text."""
    from rich.console import Console
    from rich.terminal_theme import MONOKAI
    from rich.text import Text

    console = Console(
        record=True,
        file=io.StringIO(),
        width=WIDTH,
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
        no_color=False,
        _environ={},
    )
    console.print(Text.assemble(("$ ", "green"), (COMMAND, "bold")))
    head, tail = shown[: len(PROMPT)], shown[len(PROMPT) :]
    console.print(Text.assemble((head, "cyan"), tail))
    return console.export_svg(title="setun", theme=MONOKAI, unique_id="setun", code_format=TEMPLATE)


def main() -> None:
    """Draw it."""
    options = parser(__doc__)
    options.add_argument("--plot", type=Path, required=True, metavar="FILE", help="SVG")
    write_output(options.parse_args().plot, picture(text()).encode())


if __name__ == "__main__":
    run(main)
