"""`python -m setun.hw.alternatives.pump`: 512 MACs' dot products, with and without a pump."""

from functools import partial

from setun.firmware.config import PACKINGS, ChipConfig
from setun.hw.array.rows import Rows
from setun.hw.fpga.flow.unit import unit_report
from setun.programs import line, parser, run, table

HEADINGS = ("rows × columns", "pump", "packing", "LUT4", "LUT4/MAC", "FF", "MHz")
ASKED_MHZ = 120.0  # of both clocks


def main() -> None:
    """Print the table of docs/performance.md, unpacking included."""
    parser(__doc__).parse_args()
    print(table(HEADINGS, ()), flush=True)
    for packing in PACKINGS:
        for pump in (1, 2):
            config = ChipConfig(columns=32, rows=16, pump=pump, packing=packing)
            cost = unit_report(partial(Rows, config), "rows", clock_mhz=ASKED_MHZ)
            shape, each = f"{config.rows} × {config.columns}", cost["lut4"] / config.macs
            figures = f"{cost['lut4']:,}", f"{each:.1f}", f"{cost['ff']:,}"
            print(line([shape, pump, packing, *figures, f"{cost['fmax_mhz']:.0f}"]), flush=True)


if __name__ == "__main__":
    run(main)
