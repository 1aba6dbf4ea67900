"""`python -m setun.hw.alternatives.conversion`: what it takes to write the Verilog of a chip."""

import resource
from collections.abc import Callable
from multiprocessing import get_context

from amaranth.back import verilog

from setun.firmware.config import ChipConfig
from setun.hw.chip import Chip
from setun.hw.emit.verilog import TOP, chip_verilog
from setun.programs import line, parser, run, table

CONFIGS = (
    ChipConfig(columns=32, rows=8, lanes=8),
    ChipConfig(columns=64, rows=32, lanes=16),
)


def amaranth_verilog(config: ChipConfig) -> str:
    """The same chip by Amaranth's own conversion."""
    return str(verilog.convert(Chip(config), name=TOP, emit_src=False))


WAYS: dict[str, Callable[[ChipConfig], str]] = {
    "amaranth.back.verilog": amaranth_verilog,
    "chip_verilog": chip_verilog,
}


def cost(way: str, config: ChipConfig) -> tuple[float, float, int, float]:
    """CPU seconds, GiB of the larger process, modules, MB; once in a process of its own."""
    text = WAYS[way](config)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(u.ru_utime + u.ru_stime for u in used)
    memory = max(u.ru_maxrss for u in used) / 2**20
    return seconds, memory, text.count("\nmodule "), len(text) / 1e6


def main() -> None:
    """Print the table of docs/performance.md."""
    parser(__doc__).parse_args()
    print(table(("MAC/cycle", "conversion", "CPU, s", "GiB", "modules", "MB"), ()), flush=True)
    for config in CONFIGS:
        for way in WAYS:
            with get_context("spawn").Pool(1) as pool:
                seconds, memory, modules, size = pool.apply(cost, (way, config))
            figures = f"{seconds:.1f}", f"{memory:.2f}", modules, f"{size:.1f}"
            print(line([config.macs, way, *figures]), flush=True)


if __name__ == "__main__":
    run(main)
