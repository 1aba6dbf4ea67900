"""`setun explore`: the design space, estimated, and the best few placed and routed."""

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from setun.cli.chip_options import chosen_options, config_option, set_option, usual_numerics
from setun.cli.common import bar, emit, json_option, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from setun.boards import Board
    from setun.explore.evaluation import Rows
    from setun.explore.exploration import Exploration
    from setun.explore.rows import Row
    from setun.explore.space import Space
    from setun.models.load import Model

REPORT, TABLE = "report.html", "results.json"


@click.command()
@click.option("--board", required=True, metavar="NAME", help="See `setun boards`.")
@click.option("--model", metavar="M", help="Model on the chip.  [default: the board's]")
@click.option(
    "-o",
    "out",
    type=click.Path(path_type=Path),
    help="Folder of results, gone on with.  [default: explore-BOARD]",
)
@click.option(
    "--best",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    metavar="N",
    help="Chips to place and route.",
)
@click.option("--estimate-only", is_flag=True, help="Place none.")
@click.option(
    "--clock",
    "clock",
    metavar="MHZ",
    help="One, a list 50,60 or a range 50:60:5; default the board's.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Placements of each chip at each clock.",
)
@click.option(
    "--numerics",
    "presets",
    metavar="PRESET|FILE",
    multiple=True,
    help="Arithmetic to compare; again for more.",
)
@click.option(
    "--vary",
    "varied",
    metavar="KEY=V,V",
    multiple=True,
    help="Values of one option to try, e.g. --vary rows=4,8.",
)
@click.option(
    "--text",
    "file",
    metavar="FILE",
    help="Measure losses on its last tenth.",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("--tokens", type=click.IntRange(1), metavar="N", help="Of the text.")
@click.option("--cycles", is_flag=True, help="Measure cycles of the placed chips, simulated.")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Processes.  [default: cores]")
@click.option("--scheduler", metavar="ADDRESS", help="Use a dask scheduler's workers instead.")
@click.option(
    "--limit",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="MINUTES",
    help="Give a tool's run up after so long.",
)
@config_option
@set_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    board: str,
    model: str | None,
    out: Path | None,
    best: int,
    estimate_only: bool,
    clock: str | None,
    seeds: int,
    presets: tuple[str, ...],
    varied: tuple[str, ...],
    file: Path | None,
    tokens: int | None,
    cycles: bool,
    jobs: int | None,
    scheduler: str | None,
    limit: float,
    config_file: Path | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """The design space: estimated, the best few placed and routed.

    Goes through lanes, array, contexts, packing, pump, memory and what else is asked for; all
    chips are estimated, and of those that nothing beats in tokens/s and LUTs the fastest, the
    smallest and some between are placed and routed. The folder gets report.html, its
    plots as SVG and results.json whenever a placement is finished, and keeps every result: the same
    command goes on where it stopped.

    \b
    setun explore --board ulx3s-25f --estimate-only
    setun explore --board icebreaker --clock 18:24:3 --seeds 2
    setun explore --board ulx3s-85f --model M.setun --best 8 --scheduler tcp://HOST:8786
    """
    from setun import boards
    from setun.drawing import pyplot
    from setun.estimate.room import check_room
    from setun.explore.exploration import Exploration, Wish
    from setun.explore.interrupts import ignored
    from setun.explore.results import Results
    from setun.explore.run import Workers
    from setun.explore.space import points, varied_values
    from setun.firmware.errors import SetunError
    from setun.firmware.image import file as image_file
    from setun.firmware.outputs import check_folder
    from setun.models.load import open_model

    pyplot()  # before hours of work whose report needs it
    out = out or Path(f"explore-{board}")
    check_folder(out)
    target = boards.get(board)
    if not (target.has_fpga or estimate_only):
        rule = "must have an FPGA to place chips on"
        raise SetunError(f"board {board}", rule, "none", "--estimate-only")
    model = model or target.model
    opened = open_model(model)
    space = _space(target, opened, clock, seeds, presets, varied, config_file, settings)
    if "memory" not in dict(varied_values(each) for each in varied):
        check_room(opened.image, space.base, target, space.fixed, choose=True)
    found = points(space, opened.image, target)
    text, name = _text(opened, file, tokens)
    results = Results(out)
    workers = Workers(
        scheduler,
        jobs or os.cpu_count() or 1,
        opened.image,
        target.family,
        text=text,
        limit_s=60 * limit,
    )
    exploration = Exploration(
        board=target,
        space=space,
        points=list(found),
        image_name=hashlib.sha256(image_file.dump(opened.image)).hexdigest(),
        wish=Wish(best=0 if estimate_only else best, cycles=cycles, text=name),
        results=results,
        workers=workers,
        bar=bar,
    )

    def keep() -> "tuple[Sequence[Row], dict[str, Any]]":
        return _write(exploration, out, model)

    def kept() -> None:
        keep()

    exploration.keep = kept
    try:
        with workers:
            exploration.run()
        rows, value = keep()
        if results.damaged:
            n = len(results.damaged)
            said = "damaged result was" if n == 1 else "damaged results were"
            click.echo(f"setun: {n} {said} made again", err=True)
    except KeyboardInterrupt:
        with ignored():
            keep()
            click.echo(
                f"setun: error: interrupted; what is finished is in {out}: the same "
                "command goes on",
                err=True,
            )
        context.exit(130)
    except SetunError:
        keep()
        raise
    emit(value, as_json, lambda: _shown(rows, value, out))


def _space(
    board: "Board",
    opened: "Model",
    clock: str | None,
    seeds: int,
    presets: tuple[str, ...],
    varied: tuple[str, ...],
    config_file: Path | None,
    settings: tuple[str, ...],
) -> "Space":
    from setun.explore.space import Space, clocks, default_options, name_of, varied_values
    from setun.firmware.config import ChipConfig
    from setun.firmware.errors import SetunError
    from setun.firmware.numerics.options import choose

    asked = clocks(clock) if clock else (board.chip_clock_mhz,)

    def base(preset: str | None) -> ChipConfig:
        numerics = None if preset is None else choose(preset)
        options = chosen_options(config_file, numerics, settings)
        usual = {
            "packing": opened.image.packing,
            "clock_hz": round(asked[0] * 1e6),
            "baud": board.baud,
            **usual_numerics(opened, options),
            **board.usual(options),
        }
        return ChipConfig.from_dict({**ChipConfig().to_dict(), **usual, **options})

    plain = base(None)
    values = dict(varied_values(each) for each in varied)
    fixed = frozenset(chosen_options(config_file, None, settings))
    for name in values.keys() & fixed:
        raise SetunError(f"option {name}", "must be set or varied", "both")
    numerics = {name: base(name).numerics for name in dict.fromkeys(presets)}
    return Space(
        base=plain,
        options=default_options(plain, board, fixed, values),
        fixed=fixed,
        numerics=numerics or {name_of(plain.numerics): plain.numerics},
        clocks_mhz=asked,
        seeds=tuple(range(1, seeds + 1)),
    )


def _text(opened: "Model", file: Path | None, tokens: int | None) -> "tuple[Rows | None, str]":
    """What losses are measured on, and its name: a hash of it."""
    from setun.sim.evaluate import windows
    from setun.sim.texts import TOKENS, WINDOW, encode, read_text

    if file is None:
        return None, ""
    ids = encode(opened.tokenizer(), read_text(file, True), (tokens or TOKENS) + 1)
    if tokens is None:
        tokens = max(1, min(TOKENS, len(ids) - 1))
    rows, counted = windows(ids, WINDOW, tokens)
    return (rows, counted), hashlib.sha256(rows.tobytes() + counted.tobytes()).hexdigest()


def _write(
    exploration: "Exploration", out: Path, model: str
) -> "tuple[Sequence[Row], dict[str, Any]]":
    """The report and the table, as far as they are known; rows and what `--json` prints."""
    from setun.explore.report import PLOTS, html, plots, to_dict
    from setun.explore.rows import build_command
    from setun.firmware.outputs import discard_output, write_output

    board, space, rows = exploration.board, exploration.space, exploration.rows()

    def build(row: "Row") -> str:
        return build_command(row, board, model, space.fixed | space.options.keys())

    title = f"{model} on {board.label}"
    drawn = plots(rows, board, exploration.float_loss())
    page = html(title, rows, drawn, build)
    value = {
        "board": board.name,
        "model": model,
        "clocks_mhz": list(space.clocks_mhz),
        "seeds": len(space.seeds),
        "float_loss": exploration.float_loss(),
        "report": str(out / REPORT),
        **to_dict(rows, build),
    }
    for name in PLOTS:
        if name in drawn:
            write_output(out / f"{name}.svg", drawn[name].encode())
        else:
            discard_output(out / f"{name}.svg")  # of a run with other points
    write_output(out / REPORT, page.encode())
    write_output(out / TABLE, (json.dumps(value, indent=1) + "\n").encode())
    return rows, value


def _shown(rows: "Sequence[Row]", value: dict[str, Any], out: Path) -> str:
    """The front and what was placed; all else is in the report."""
    from setun.explore.report import cells, columns, many

    told = ", ".join(f"{n:,} {status}" for status, n in value["counts"].items())
    lines = [f"{value['model']} on {value['board']}: {many(len(rows), 'point')}, {told}"]
    shown = [row for row in rows if row.front or row.seed is not None]
    shown.sort(key=lambda row: row.costs or ())
    if shown:
        lines += ["", table([cells(row) for row in shown], columns(shown))]
    if value["float_loss"] is not None:
        lines += ["", f"float model: {value['float_loss']:.4f} nat/token"]
    if refused := value["refused"]:
        reasons = [{"refused": f"{n:,}", "why": why} for why, n in refused.items()]
        lines += ["", table(reasons, ["refused", "why"])]
    return "\n".join([*lines, "", f"{out / REPORT}: every point, plots"])
