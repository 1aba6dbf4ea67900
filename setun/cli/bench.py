"""`setun bench`: cycles per token on RTL against the bandwidth bound."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from setun.cli.common import emit, json_option, stages, table

if TYPE_CHECKING:
    from setun.firmware.config import ChipConfig


@click.command()
@click.option("--model", default="shakespeare", show_default=True, help="Model to run.")
@click.option("--config", "names", metavar="NAME", multiple=True, help="Only these configurations.")
@click.option("-n", "tokens", type=int, default=16, show_default=True, help="Tokens per run.")
@click.option("--packing", type=click.Choice(["2b", "1.6b"]), default="2b", show_default=True)
@click.option("--account", is_flag=True, help="Show where the cycles of a token go.")
@click.option("--units", is_flag=True, help="Place each unit alone instead: cells and Fmax.")
@json_option
def command(
    model: str,
    names: tuple[str, ...],
    tokens: int,
    packing: str,
    account: bool,
    units: bool,
    as_json: bool,
) -> None:
    """Cycles per token on RTL against the bandwidth bound.

    Runs the compiled chip, checks every token, reads the chip's own counters. The bound is one
    weight word per cycle: bits of packed weights per token over bits per cycle of the port.

    \b
    setun bench
    setun bench --config onchip-256 --account
    setun bench --config board-256 --units
    """
    from setun.firmware.config import ChipConfig
    from setun.firmware.errors import SetunError
    from setun.firmware.placement import sized_for
    from setun.measure import BENCH_CONFIGS, measure
    from setun.models.load import load_model

    for name in names:
        if name not in BENCH_CONFIGS:
            raise SetunError("configuration", f"must be one of {', '.join(BENCH_CONFIGS)}", name)
    image = load_model(model)
    if units:
        _units(sized_for(image, ChipConfig(**BENCH_CONFIGS[(names or ("board-256",))[0]])), as_json)
        return
    results = []
    with stages() as start:
        for name in names or tuple(BENCH_CONFIGS):
            config = sized_for(image, ChipConfig(**BENCH_CONFIGS[name], packing=packing))
            start(f"run {name}")
            results.append(measure(name, model, image, config, tokens))
    values = [asdict(r) for r in results]
    if not account:
        for value in values:
            del value["account"]

    def text() -> str:
        rows = [
            {
                "config": r.config,
                "cycles/token": f"{r.cycles_per_token:.0f}",
                "bound": r.bound_cycles_per_token,
                "roofline": f"{r.roofline_fraction:.3f}",
                "MAC/cycle": f"{r.mac_per_cycle:.1f}",
                **{k: f"{v:.0f}" for k, v in r.account.items() if account},
            }
            for r in results
        ]
        return table(rows, list(rows[0]))

    emit(values, as_json, text)


def _units(config: "ChipConfig", as_json: bool) -> None:
    from setun.units import unit_costs

    with stages() as start:
        costs = list(unit_costs(config, start))
    columns = ("unit", "lut4", "ff", "block_ram", "multipliers", "fmax_mhz")
    emit(costs, as_json, lambda: table(costs, columns))
