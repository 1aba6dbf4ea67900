"""`python -m setun.estimate.compare`: the estimate beside what was measured, as markdown tables.

Builds come from builds.json; the second table has the estimates for what `setun bench` measures.
"""

from setun import boards
from setun.bench.measure import BENCH_CONFIGS, BENCH_MODELS, DEFAULT_MODEL
from setun.estimate.cells import data
from setun.estimate.chip import estimate
from setun.estimate.cycles import cycles_per_token
from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import sized_for
from setun.hw.fpga.families import ECP5
from setun.models.load import load_model
from setun.programs import parser, run, table

CELLS = {name: ECP5.called(name) for name in ("luts", "registers", "block_ram", "multipliers")}


def beside(guess: float, measured: float) -> str:
    """Both numbers, and by how much the first one is off."""
    return f"{guess:,.0f}, {measured:,.0f} ({guess / measured - 1:+.1%})"


def builds() -> str:
    """A line for every build."""
    rows = []
    for build in data("builds.json"):
        config = ChipConfig.from_dict(build["config"])
        found = estimate(load_model(build["model"]), config, boards.get(build["board"]))
        rows.append(
            [
                f"{build['board']}, {build['model']}, {config.columns} x {config.rows}, "
                f"{config.lanes} lanes, {config.contexts} contexts, {config.memory}",
                *(
                    beside(found.utilisation[kind][0], build["utilisation"][kind][0])
                    for kind in CELLS
                ),
                beside(found.cycles[build["streams"]], build["cycles_per_token"]),
            ]
        )
    return table(("build", *CELLS.values(), "cycles per token"), rows)


def benches() -> str:
    """Cycles per token of the configurations of `setun bench`."""
    rows = []
    for name, options in BENCH_CONFIGS.items():
        image = load_model(BENCH_MODELS.get(name, DEFAULT_MODEL))
        config = sized_for(image, ChipConfig(**options))
        for streams in sorted({1, config.contexts}):
            rows.append([name, str(streams), f"{cycles_per_token(image, config, streams):,.0f}"])
    return table(("configuration", "streams", "estimate"), rows)


def main() -> None:
    """Print both tables."""
    parser(__doc__).parse_args()
    print(builds(), end="\n\n")
    print(benches())


if __name__ == "__main__":
    run(main)
