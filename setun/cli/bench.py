"""`setun bench`: cycles per token on RTL against the bandwidth bound."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from setun.cli.common import check_written, emit, json_option, stages, table

if TYPE_CHECKING:
    from setun.firmware.config import ChipConfig


@click.command()
@click.option("--model", help="Model to run.  [default: shakespeare, or random beyond the chip]")
@click.option("--config", "names", metavar="NAME", multiple=True, help="Only these configurations.")
@click.option(
    "--sweep",
    "sweeps",
    type=click.Choice(["lanes", "hidden"]),
    multiple=True,
    help="Chips of growing arrays, models of growing width, instead.",
)
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Draw the sweeps, or the history, into an SVG or PNG file.",
)
@click.option(
    "--history",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Append what the boards' chips were at this commit instead.",
)
@click.option("-n", "tokens", type=int, help="Tokens per run.  [default: 16, random models 2]")
@click.option(
    "--position",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Tokens in front of those that are timed.",
)
@click.option("--packing", type=click.Choice(["2b", "1.6b"]), help="Weights in memory.")
@click.option(
    "--account", is_flag=True, help="Show where the cycles of a token go, layer by layer."
)
@click.option("--units", is_flag=True, help="Place each unit alone instead: cells and Fmax.")
@json_option
def command(
    model: str | None,
    names: tuple[str, ...],
    sweeps: tuple[str, ...],
    plot: Path | None,
    history: Path | None,
    tokens: int | None,
    position: int,
    packing: str | None,
    account: bool,
    units: bool,
    as_json: bool,
) -> None:
    """Cycles per token on RTL against the bandwidth bound.

    Runs the compiled chip, checks every token, reads the chip's own counters. The bound is bits
    of packed weights per token over bits per cycle of the weight port or the memory's pins. A
    chip with several contexts runs one stream, then one in each, then a prompt, whose tokens
    share a pass (prefill, cycles per token).

    \b
    setun bench
    setun bench --config onchip-256 --account
    setun bench --config board-256 --units
    setun bench --sweep lanes --sweep hidden --plot scaling.svg
    setun bench --history history.jsonl --plot history.svg
    """
    from setun.bench.account import layer_accounts
    from setun.bench.measure import BENCH_CONFIGS, BENCH_MODELS, DEFAULT_MODEL, LARGE, measure
    from setun.bench.scaling import SWEEPS
    from setun.bench.scaling import plot as draw
    from setun.firmware.config import ChipConfig
    from setun.firmware.errors import SetunError, nearest
    from setun.firmware.image.memory_layout import sized_for
    from setun.models.load import load_model
    from setun.models.random import shape

    for name in names:
        if name not in BENCH_CONFIGS:
            rule = f"must be one of {', '.join(BENCH_CONFIGS)}"
            raise SetunError("configuration", rule, name, nearest(name, BENCH_CONFIGS))
    if units:
        options = BENCH_CONFIGS[(names or ("board-256",))[0]]
        _units(sized_for(load_model(model or DEFAULT_MODEL), ChipConfig(**options)), as_json)
        return
    if plot and not (sweeps or history):
        rule = "shows sweeps or a history"
        raise SetunError("plot", rule, "none", "add --sweep lanes or --history FILE")
    if plot:
        check_written(plot, as_json)
    if history:
        if names or sweeps:
            raise SetunError("history", "is of builds, not of simulated chips", "--config")
        _history(history, plot, as_json)
        return
    if sweeps and names:
        raise SetunError("benchmark", "takes configurations or sweeps", "both")
    small = [each for each in BENCH_CONFIGS if each not in LARGE]
    jobs: list[tuple[str, int, str, dict[str, Any], str]] = [
        ("", 0, name, BENCH_CONFIGS[name], BENCH_MODELS.get(name, DEFAULT_MODEL))
        for name in names or (() if sweeps else small)
    ]
    jobs += [
        (sweep, value, name, options, which)
        for sweep in sweeps
        for name, (value, options, which) in SWEEPS[sweep].items()
    ]
    results, points, layers = [], [], []
    with stages() as start:
        for sweep, value, name, options, usual in jobs:
            which = model or usual
            random = shape(which) is not None
            options = options | ({"packing": packing} if packing else {})
            start(f"compile {which}")
            image = load_model(which)
            start(f"run {name}")
            config = sized_for(image, ChipConfig(**options))
            count = tokens if tokens is not None else (2 if random else 16)
            found = measure(name, which, image, config, count, position=position)
            results += found
            if account:
                layers += layer_accounts(name, which, image, config, count, found, start)
            points += [(sweep, value, config.clock_hz, result) for result in found if sweep]
    if plot:
        draw(plot, points)
    values = [asdict(r) for r in results]
    for k, each in enumerate(values):
        if account:
            each["layers"] = layers[k]
        else:
            del each["account"]

    def text() -> str:
        rows = [
            {
                "config": r.config,
                "streams": r.streams,
                "cycles/token": f"{r.cycles_per_token:.0f}",
                "bound": r.bound_cycles_per_token,
                "roofline": f"{r.roofline_fraction:.3f}",
                "MAC/cycle": f"{r.mac_per_cycle:.1f}",
                "prefill": ("-" if (p := r.prefill_cycles_per_token) is None else f"{p:.0f}"),
                **{k: f"{v:.0f}" for k, v in r.account.items() if account},
            }
            for r in results
        ]
        shown = [table(rows, list(rows[0]))]
        for r, each in zip(results, layers, strict=bool(layers)):
            shown.append(f"\n{r.config}, streams {r.streams}, what each layer adds:")
            lines = [
                {
                    "layer": k or "0, embedding, sampling",
                    **{key: round(v) for key, v in a.items()},
                }
                for k, a in enumerate(each)
            ]
            shown.append(table(lines, list(lines[0])))
        return "\n".join(shown)

    emit(values, as_json, text, plot)


def _history(file: Path, drawn: Path | None, as_json: bool) -> None:
    from setun.bench.history import grown, here, plot, read, write
    from setun.estimate.boards import FILE
    from setun.estimate.cells import data

    before = read(file)
    lines = grown(before, data(FILE), *here())
    write(file, lines)
    if drawn:
        plot(drawn, lines)
    new = lines[len(before) :]
    words = f"{file}: {len(lines)} builds, {len(new)} of them new"
    rows = [{key: line[key] for key in line if key != "date"} for line in new]
    emit(new, as_json, lambda: "\n".join([words, *([table(rows, list(rows[0]))] if rows else [])]))


def _units(config: "ChipConfig", as_json: bool) -> None:
    from setun.bench.units import unit_costs

    with stages() as start:
        costs = list(unit_costs(config, start))
    columns = ("unit", "lut4", "ff", "block_ram", "multipliers", "fmax_mhz")
    emit(costs, as_json, lambda: table(costs, columns))
