"""`python -m setun.bench.prices --text FILE`: what a preset of the numerics costs and loses.

The demo model's chip on a ULX3S-85F, placed and routed (minutes a preset; kept in the build's
cache), its cycles per token on the simulated chip, every token compared with the golden model's,
and its loss on the last tenth of a text. A markdown table on stdout, progress on stderr.
"""

import tempfile
from functools import partial
from pathlib import Path

from setun import boards
from setun.bench.measure import measure
from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import lay_out, sized_for
from setun.firmware.numerics.options import PRESETS
from setun.hw.chip import Chip
from setun.hw.fpga.flow.bitstream import build_bitstream
from setun.models.load import load_model
from setun.programs import line, parser, run, step, table
from setun.sim.studies.demo import shipped
from setun.sim.studies.fidelity import TOKENS, Text

BOARD = "ulx3s-85f"
SHAPE = partial(ChipConfig, columns=16, rows=8, lanes=4, contexts=1)
COLUMNS = (
    "numerics",
    "LUT4",
    "registers",
    "multipliers",
    "block RAM",
    "Fmax, MHz",
    "cycles per token",
    "loss over float",
    "same likeliest token",
)
CELLS = ("luts", "registers", "multipliers", "block_ram")


def price(preset: str, text: Text, clock_mhz: float) -> list[str]:
    """A line of the table."""
    image, target = load_model("shakespeare"), boards.get(BOARD)
    chip = SHAPE(
        numerics=PRESETS[preset],
        packing=image.packing,
        clock_hz=round(clock_mhz * 1e6),
        baud=target.baud,
    )
    config = sized_for(image, chip)
    step(f"{preset}: cycles per token")
    cycles = measure(preset, "shakespeare", image, config, 4)[0].cycles_per_token
    with tempfile.TemporaryDirectory() as folder:
        report = build_bitstream(
            partial(Chip, config, lay_out(image, config)),
            target,
            name="setun",
            out=Path(folder),
            clock_mhz=clock_mhz,
            progress=lambda stage: step(f"{preset}: {stage}"),
            allow_timing_fail=True,
        )
    step(f"{preset}: loss")
    found = text.fidelity(preset)
    used = [f"{report['utilisation'][cell][0]:,}" for cell in CELLS]
    return [
        preset,
        *used,
        f"{report['fmax_mhz']:.1f}",
        f"{cycles:,.0f}",
        f"{found.loss:+.4f}",
        f"{100 * found.agreement:.2f} %",
    ]


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--text", type=Path, required=True, metavar="FILE")
    options.add_argument("--tokens", type=int, default=TOKENS, metavar="N")
    options.add_argument("--preset", action="append", choices=list(PRESETS), metavar="NAME")
    options.add_argument("--clock", type=float, default=50.0, metavar="MHZ", help="asked for")
    arguments = options.parse_args()
    demo = shipped()
    text = Text(demo.held_out(arguments.text), arguments.tokens, demo)
    print(table(COLUMNS, ()), flush=True)
    for preset in arguments.preset or PRESETS:
        print(line(price(preset, text, arguments.clock)), flush=True)


if __name__ == "__main__":
    run(main)
