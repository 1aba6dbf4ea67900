"""`build_bitstream`: a chip on a board, placed, routed, timed and packed."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.memory_layout import MemoryLayout
from setun.firmware.outputs import discard_output, make_folder, write_output
from setun.hw.fpga.board import Board
from setun.hw.fpga.family import Device, Family
from setun.hw.fpga.flow import report
from setun.hw.fpga.flow.bit_map import recover
from setun.hw.fpga.flow.cache import Cache, digest
from setun.hw.fpga.flow.finished import Finished, patching
from setun.hw.fpga.flow.marks import contents, markable, marks
from setun.hw.fpga.flow.process import Children
from setun.hw.fpga.flow.routing import Unroutable
from setun.hw.fpga.flow.stages import Design, Flow, Progress

Factory = Callable[[], Any]
FURTHER_SEEDS = 3  # tried where no placement asked for routes and meets its timing
NEARLY = 0.9  # of the clock: what another seed may mend
MOST_AT_ONCE = 4  # placements of an 85F design take about a gigabyte each


def design_for(
    factory: Factory, board: Board, *, name: str, clock_mhz: float, pump: int = 1
) -> Design:
    """RTL and pin constraints of the chip that `factory` makes, on `board`; needs no tool."""
    kind = board.fpga
    tools = kind.flow()
    if not name.isidentifier() or not name.isascii():
        raise SetunError("design name", "must be letters, digits and underscores", name)
    kind.check_clock(board.clock_mhz, clock_mhz, pump)
    top = kind.top(factory(), board, clock_mhz, pump)
    plan = board.load_platform().prepare(top, name, emit_src=False)

    def text(file: str) -> str:
        content = plan.files[file]
        return content if isinstance(content, str) else content.decode()

    return Design(
        name=name,
        rtlil=text(f"{name}.il"),
        constraints=text(f"{name}.{tools.constraints}"),
        family=kind,
    )


@dataclass(frozen=True, kw_only=True)
class Model:
    """What a chip's block RAM starts with, put there after place and route.

    Parameters
    ----------
    chip
        Makes the chip with other words than `layout` in its memories.
    config
        What the chip is.
    layout
        The model.
    work
        Of the model, for `Finished`.
    """

    chip: Callable[[MemoryLayout], Any]
    config: ChipConfig
    layout: MemoryLayout
    work: str

    def marked(self) -> Any:
        """The chip with marks in its memories."""
        return self.chip(marks(self.config))


@dataclass(frozen=True)
class _Placed:
    """One placement: where its files are and how fast it is."""

    seed: int
    folder: Path
    key: str
    fmax_mhz: float
    met: bool


def _layouts(
    flow: Flow, design: Design, device: Device, *, clock_mhz: float, seeds: range, hurry: bool
) -> list[_Placed]:
    """Placements with these seeds that routed, and further ones until one meets its timing.

    There are no further ones where timing is missed by far, nor, in a `hurry`, behind one that
    routed.
    """

    def one(seed: int) -> _Placed | Unroutable:
        several = len(seeds) > 1 or seed not in seeds
        try:
            folder, key = flow.place_and_route(
                design, device, clock_mhz=clock_mhz, seed=seed, several=several
            )
        except Unroutable as error:
            return error
        return _Placed(seed, folder, key, *report.timing(folder / "timing.json", clock_mhz))

    pool = ThreadPoolExecutor(max_workers=min(len(seeds), os.cpu_count() or 1, MOST_AT_ONCE))
    try:
        found = list(pool.map(one, seeds))
        for seed in range(seeds.stop, seeds.stop + FURTHER_SEEDS):
            placed = [each for each in found if isinstance(each, _Placed)]
            fastest = max((each.fmax_mhz for each in placed), default=clock_mhz)
            enough = hurry or fastest < NEARLY * clock_mhz
            if any(each.met or enough for each in placed):
                break
            found.append(one(seed))
    except BaseException:
        flow.children.stop()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    placed = [each for each in found if isinstance(each, _Placed)]
    last = found[-1]
    if isinstance(last, Unroutable) and not placed:
        raise last
    return placed


def _takes_models(flow: Flow, design: Design, config: ChipConfig) -> bool:
    """Whether all of a model lies in block RAM of this netlist, which has marks there."""
    netlist, key = flow.synthesise(design)

    def produce(work: Path) -> None:
        blocks = patching(design.family).netlist_blocks(
            json.loads((netlist / f"{design.name}.json").read_text("utf-8"))
        )
        missing = ""
        try:
            recover(blocks, contents(config, marks(config)))
        except SetunError as error:
            missing = str(error)
        (work / "missing").write_text(missing, "utf-8")

    return not (flow.cache.get(digest("pieces", key), produce) / "missing").read_text("utf-8")


def _finished(name: str, model: Model, text: str, kind: Family) -> Finished:
    pieces = recover(
        patching(kind).placed_blocks(text), contents(model.config, marks(model.config))
    )
    return Finished(
        name=name,
        family=kind,
        config=model.config,
        work=model.work,
        pieces=pieces,
        text=text,
        report={},
    )


def build_bitstream(
    factory: Factory,
    board: Board,
    *,
    name: str,
    out: Path,
    clock_mhz: float,
    pump: int = 1,
    seed: int = 1,
    seeds: int = 1,
    extra: Mapping[str, object] | None = None,
    progress: Progress = lambda stage: None,
    allow_timing_fail: bool = False,
    cache: Cache | None = None,
    model: Model | None = None,
    limit_s: float | None = None,
) -> dict[str, Any]:
    """Build NAME.bit (NAME.bin of an iCE40) and report.json in `out`; return the report.

    The same design, tools and seed give the same bytes. Each stage is reused from the cache
    when nothing that goes into it has changed.

    With a `model` the chip is placed with marks in its memories, and the model's words are put
    there behind it: NAME.finished, a `Finished`, takes others. The report's `reusable` tells
    whether all of the model lies in block RAM; where not, the chip is placed with it, and there is
    no such file.

    Parameters
    ----------
    factory
        Makes the chip: a component with members `rx` and `tx`.
    name
        Name of the top module and of the bitstream.
    clock_mhz
        Clock of the chip; must be one that the board's PLL makes.
    pump
        Above 1 the chip has a domain `fast` of so many times the clock.
    seed, seeds
        Placements `seed` … `seed + seeds - 1` are tried; the fastest is kept. If none of them
        routes, or all miss their timing and one of them by little, up to `FURTHER_SEEDS` behind
        them are tried, until one meets it.
    extra
        Further entries of the report: cycles_per_token, tokens_per_second.
    progress
        Called with the name of each stage that starts (not for those found in the cache).
    allow_timing_fail
        Keep a bitstream that misses its clock, and try no further seed to meet it.
    model
        What `factory` puts into the chip's memories, if a bitstream holds it (`in_bitstream`).
    limit_s
        Seconds that each tool may take.

    Raises
    ------
    SetunError
        The design does not fit, a tool is missing or fails, or timing is not met. After
        missed timing report.json is there and the bitstream is not.
    """
    if seeds < 1:
        raise SetunError("seeds", "must be at least 1", seeds)
    if seed < 0:
        raise SetunError("seed", "must not be negative", seed)
    make_folder(out)
    kind = board.fpga
    tools = kind.flow()
    target = out / f"{name}.{tools.suffix}"
    # What an earlier build left must not pass for the result of this one.
    for old in (target, out / f"{name}.finished", out / "report.json"):
        discard_output(old)

    progress("elaborate")

    def elaborate(chip: Factory) -> Design:
        return design_for(chip, board, name=name, clock_mhz=clock_mhz, pump=pump)

    device = Device(device=board.device, package=board.package, speed=board.speed)
    finished = None
    with Children(limit_s) as children:
        flow = Flow(children, cache or Cache(), out, progress)
        reusable = model is not None and markable(model.config)
        design = elaborate(model.marked if model and reusable else factory)
        netlist, _ = flow.synthesise(design)
        cells = report.netlist_cells(netlist / "stat.json")
        report.check_fit(board.name, kind.needs(cells), board.capacity)
        if model and reusable and not _takes_models(flow, design, model.config):
            reusable = False
            design = elaborate(factory)
        tried = _layouts(
            flow,
            design,
            device,
            clock_mhz=clock_mhz,
            seeds=range(seed, seed + seeds),
            hurry=allow_timing_fail,
        )
        best = max(tried, key=lambda placed: (placed.met, placed.fmax_mhz, -placed.seed))
        keep = best.met or allow_timing_fail
        timing = best.folder / "timing.json"
        result: dict[str, Any] = {
            "board": board.name,
            "fmax_mhz": best.fmax_mhz,
            "clock_mhz": clock_mhz,
            "timing_met": best.met,
            "utilisation": report.utilisation(timing, kind),
            "cycles_per_token": None,
            "tokens_per_second": None,
            "tools": {},
            "seed": best.seed,
            "bitstream_sha256": None,
            **({"reusable": reusable} if model else {}),
            **(extra or {}),
        }
        packed = None
        if keep:
            text = (best.folder / f"{name}.{tools.placed}").read_text("utf-8")
            if model and reusable:
                finished = _finished(name, model, text, kind)
                text = finished.with_model(model.layout)
            packed = flow.pack(name, kind, text, best.key).read_bytes()
            result["bitstream_sha256"] = hashlib.sha256(packed).hexdigest()
        result["tools"] = {tool: str(flow.tools[tool]) for tool in sorted(flow.tools)}

    write_output(out / "timing.json", timing.read_bytes())
    if packed is not None:
        write_output(target, packed)
    if finished is not None:
        kept = replace(finished, report=json.loads(json.dumps(result)))
        write_output(out / f"{name}.finished", kept.dump())
    write_report(out, result)
    if not keep:
        raise SetunError(
            f"timing of {name} on {board.name}",
            f"must reach {clock_mhz:g} MHz",
            f"{best.fmax_mhz:g} MHz with seed {best.seed}",
            "a slower clock, more --seeds, or --allow-timing-fail",
        )
    return result


def write_report(out: Path, result: Mapping[str, Any]) -> None:
    """Write report.json of a build."""
    write_output(out / "report.json", (json.dumps(result, indent=2) + "\n").encode())
