"""`python -m setun.overlaps`: cycles per token with and without what a chip does meanwhile.

The demo model on simulated chips, every token compared with the golden model's: arrays, float
lanes and streams, and each of them with a program that waits for every vector to be stored before
its maxima are looked for. A markdown table on stdout, progress on stderr (minutes).
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from setun.firmware.compiler import Image
from setun.firmware.config import ChipConfig
from setun.firmware.placement import sized_for
from setun.measure import DEFAULT_MODEL, Measurement, measure
from setun.models.load import load_model
from setun.sim.studies.report import line, parser, run, step, table

ARRAYS = {
    256: partial(ChipConfig, columns=32, rows=8),
    512: partial(ChipConfig, columns=32, rows=16),
}
LANES = (4, 8, 16)
CONTEXTS = (1, 2, 4)
TOKENS = 8
COLUMNS = (
    "MACs", "lanes", "streams", "cycles/token", "roofline", "without streamed maxima"
)  # fmt: skip


def stored_first(image: Image) -> Image:
    """The image with a program whose quantiser never listens to the sink."""
    program = (
        replace(op, stream=False, sync=op.sync or op.stream, feeds=False) for op in image.program
    )
    return replace(image, program=tuple(program))


def rows() -> Iterator[list[str]]:
    """The table line by line: a chip of each shape, alone and with as many streams as it holds."""
    image = load_model(DEFAULT_MODEL)
    late = stored_first(image)

    def cycles(shape: str, which: Image, config: ChipConfig) -> Measurement:
        step(shape)
        return measure(shape, DEFAULT_MODEL, which, config, TOKENS)[-1]

    for macs, array in ARRAYS.items():
        for lanes in LANES:
            if array(lanes=4).rows < lanes:
                continue
            for contexts in CONTEXTS:
                config = sized_for(image, array(lanes=lanes, contexts=contexts))
                shape = f"{macs} MACs, {lanes} lanes, {contexts} streams"
                found = cycles(shape, image, config)
                without = cycles(f"{shape}, maxima after storing", late, config)
                yield [
                    str(macs), str(lanes), str(contexts), f"{found.cycles_per_token:,.0f}",
                    f"{found.roofline_fraction:.3f}", f"{without.cycles_per_token:,.0f}",
                ]  # fmt: skip


def main() -> None:
    """Print the table."""
    parser(__doc__).parse_args()
    print(table(COLUMNS, ()), flush=True)
    for cells in rows():
        print(line(cells), flush=True)


if __name__ == "__main__":
    run(main)
