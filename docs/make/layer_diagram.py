"""`python docs/make/layer_diagram.py --plot FILE`: who works when in one layer, as a picture."""

from pathlib import Path
from typing import Any

from setun.bench.measure import BENCH_CONFIGS, DEFAULT_MODEL
from setun.drawing import pyplot, save
from setun.estimate.cycles import Schedule, Span
from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import sized_for
from setun.models.load import load_model
from setun.programs import parser, run

LAYER = 1  # the first one begins with the embedding
CONFIG = "onchip-256"
UNITS = ("maxima", "codes", "scale", "array", "sink")  # from top to bottom
SHORT = {"gate_proj.gate": "gate", "gate_proj.up": "up"}


def layer_spans(seats: int, config: str = CONFIG, layer: int = LAYER) -> list[Span]:
    """Spans of one layer of the demo model, by the schedule of `setun.estimate.cycles`."""
    image = load_model(DEFAULT_MODEL)
    schedule = Schedule(image, sized_for(image, ChipConfig(**BENCH_CONFIGS[config])), seats)
    schedule.run()
    return [span for span in schedule.spans if f".layers.{layer}." in span.work]


def _projection(work: str) -> str:
    name = work.partition(".attn.")[2] or work.partition(".mlp.")[2]
    return SHORT.get(name, name.removesuffix("_proj"))


def _draw(axis: Any, spans: list[Span], colours: dict[str, Any]) -> None:
    first = min(span.start for span in spans if span.unit != "maxima")
    for span in spans:
        row, projection = UNITS.index(span.unit), _projection(span.work)
        start = max(span.start - first, 0)
        width = span.end - first - start
        axis.broken_barh(
            [(start, width)],
            (row - 0.4, 0.8),
            facecolors=colours[projection],
            edgecolor="black",
            linewidth=0.5,
            alpha=0.35 if span.unit == "maxima" else 1,
            hatch="///" if span.seat else None,
        )
        if span.unit == "array":
            axis.text(start + width / 2, row, projection, ha="center", va="center", fontsize=8)
    axis.set_yticks(range(len(UNITS)), UNITS)
    axis.set_ylim(len(UNITS) - 0.5, -0.5)
    axis.grid(axis="x", alpha=0.3)


def main() -> None:
    """Draw a layer with one stream and with two."""
    options = parser(__doc__)
    options.add_argument("--plot", type=Path, required=True, metavar="FILE", help="SVG or PNG")
    file = options.parse_args().plot
    figures = pyplot()
    figure, axes = figures.subplots(2, 1, figsize=(11, 5.5), sharex=True)
    drawn = {seats: layer_spans(seats) for seats in (1, 2)}
    names = list(dict.fromkeys(_projection(span.work) for span in drawn[1]))
    colours = {name: figures.get_cmap("Set3")(k) for k, name in enumerate(names)}
    for axis, (seats, spans) in zip(axes, drawn.items(), strict=True):
        _draw(axis, spans, colours)
        streams = "one stream" if seats == 1 else "two streams, the second one hatched"
        axis.set_title(f"layer {LAYER} of {DEFAULT_MODEL}, {CONFIG}, {streams}", fontsize=10)
    axes[-1].set_xlabel("cycles")
    figure.tight_layout()
    try:
        save(figure, file)
    finally:
        figures.close(figure)


if __name__ == "__main__":
    run(main)
