"""How tokens per second and the roofline fraction grow with the array and with the model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from setun.bench.measure import DEFAULT_MODEL, Measurement
from setun.drawing import pyplot, save

LANES = ((16, 4), (32, 4), (32, 8), (32, 16), (64, 16))  # columns, rows
HIDDEN = (64, 128, 256, 512)

# Sweeps of `setun bench --sweep`: point to (value on the axis, options of the chip, model).
SWEEPS: dict[str, dict[str, tuple[int, dict[str, Any], str]]] = {
    "lanes": {
        f"{p}x{q}": (
            p * q,
            {"columns": p, "rows": q, "lanes": min(16, max(4, p * q // 32)), "contexts": 2},
            DEFAULT_MODEL,
        )
        for p, q in LANES
    },
    "hidden": {
        f"hidden-{n}": (n, {"columns": 32, "rows": 8, "lanes": 8, "contexts": 2}, f"random-{n}x2")
        for n in HIDDEN
    },
}
AXES = {"lanes": "lanes (ternary MAC per cycle)", "hidden": "hidden size, 256 lanes, 2 layers"}


def plot(file: Path, points: Sequence[tuple[str, int, int, Measurement]]) -> None:
    """Draw measurements, (sweep, value, clock in Hz, measurement) each, into an SVG or PNG file.

    Raises
    ------
    SetunError
        matplotlib is not installed; the file cannot be written.
    """
    figures = pyplot()
    sweeps = list(dict.fromkeys(sweep for sweep, *_ in points))
    figure, axes = figures.subplots(
        2, len(sweeps), figsize=(5 * len(sweeps), 6.5), sharex="col", squeeze=False
    )
    for column, sweep in enumerate(sweeps):
        rate, fraction = axes[0][column], axes[1][column]
        mine = [(value, clock, m) for name, value, clock, m in points if name == sweep]
        for streams in sorted({m.streams for *_, m in mine}):
            chosen = [(value, clock, m) for value, clock, m in mine if m.streams == streams]
            values = [value for value, *_ in chosen]
            label = "one stream" if streams == 1 else f"{streams} streams"
            rate.plot(values, [c / m.cycles_per_token for _, c, m in chosen], "o-", label=label)
            fraction.plot(values, [m.roofline_fraction for *_, m in chosen], "o-", label=label)
        bounds = sorted({(value, clock / m.bound_cycles_per_token) for value, clock, m in mine})
        rate.plot(*zip(*bounds, strict=True), "k--", linewidth=1, label="bound of the weight port")
        rate.set(xscale="log", yscale="log")
        rate.set_ylabel(f"tokens/s at {mine[0][1] / 1e6:g} MHz")
        fraction.set(ylim=(0, 1.05), xlabel=AXES[sweep], ylabel="roofline fraction")
        ticks = sorted({value for value, *_ in mine})
        fraction.set_xticks(ticks, [str(tick) for tick in ticks])
        fraction.minorticks_off()
        for axis in (rate, fraction):
            axis.grid(alpha=0.3)
            axis.legend()
    try:
        save(figure, file)
    finally:
        figures.close(figure)
