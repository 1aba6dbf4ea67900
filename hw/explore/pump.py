"""`python -m setun.hw.explore.pump`: 512 MACs' dot products, with and without a pump."""

from functools import partial

from setun.firmware.config import PACKINGS, ChipConfig
from setun.hw.build import unit_report
from setun.hw.rows import Rows

ASKED_MHZ = 120.0  # of both clocks


def main() -> None:
    """Print the table of docs/performance.md, unpacking included."""
    print("| rows × columns | pump | packing | LUT4 | LUT4/MAC | FF | MHz |")
    print("|---|---|---|---|---|---|---|")
    for packing in PACKINGS:
        for pump in (1, 2):
            config = ChipConfig(columns=32, rows=16, pump=pump, packing=packing)
            cost = unit_report(partial(Rows, config), "rows", clock_mhz=ASKED_MHZ)
            print(
                f"| {config.rows} × {config.columns} | {pump} | {packing} | {cost['lut4']:,} |"
                f" {cost['lut4'] / config.macs:.1f} | {cost['ff']:,} | {cost['fmax_mhz']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
