"""`unit_report`: what one unit costs and how fast it is, alone."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amaranth import Cat, ClockDomain, ClockSignal, Elaboratable, Module, Signal, Value
from amaranth.back import rtlil
from amaranth.lib.wiring import Flow as Direction

from setun.hw.array.rows import FAST
from setun.hw.fpga.families import ECP5
from setun.hw.fpga.family import Device
from setun.hw.fpga.flow import report
from setun.hw.fpga.flow.cache import Cache
from setun.hw.fpga.flow.process import Children
from setun.hw.fpga.flow.stages import Design, Flow, Progress

FAMILY = ECP5  # whose cells units are priced in
DEVICE = Device(device="LFE5U-85F", package="BG381", speed="6")


def _members(unit: Any) -> tuple[list[Value], list[Value]]:
    inputs: list[Value] = []
    outputs: list[Value] = []
    for _, member, value in unit.signature.flatten(unit):
        (inputs if member.flow == Direction.In else outputs).append(Value.cast(value))
    return inputs, outputs


def _clocks(m: Module, top: Any) -> None:
    """The domains of a top's unit, `FAST` where it has rows that run in it."""
    m.domains.sync = ClockDomain("sync", reset_less=True)
    m.d.comb += ClockSignal().eq(top.clk)
    if getattr(top.unit, "fast", False):
        m.domains += ClockDomain(FAST, reset_less=True)
        m.d.comb += ClockSignal(FAST).eq(top.fast)


class _Harness(Elaboratable):
    """A unit behind registers: one serial input, one output bit that depends on all of its.

    Every path into and out of the unit is between registers, so that Fmax is the unit's.
    """

    def __init__(self, unit: Any) -> None:
        self.unit = unit
        self.clk, self.fast = Signal(), Signal()
        self.source = Signal()
        self.parity = Signal()

    @staticmethod
    def luts(outputs: int) -> int:
        """LUT4 that the parity of so many outputs takes."""
        count = 0
        while outputs > 1:
            count += outputs // 4 + (outputs % 4 > 1)
            outputs = -(-outputs // 4)
        return count

    def elaborate(self, platform: object) -> Module:
        m = Module()
        _clocks(m, self)
        m.submodules.unit = self.unit
        inputs, outputs = _members(self.unit)
        chain = Signal(max(1, len(Cat(*inputs))))
        m.d.sync += chain.eq(Cat(self.source, chain))
        m.d.comb += Cat(*inputs).eq(chain)
        level = Signal(max(1, len(Cat(*outputs))))
        m.d.sync += level.eq(Cat(*outputs))
        while len(level) > 1:
            groups = [level[i : i + 4].xor() for i in range(0, len(level), 4)]
            level = Signal(len(groups))
            m.d.sync += level.eq(Cat(*groups))
        m.d.comb += self.parity.eq(level)
        return m


class _Alone(Elaboratable):
    """A unit with nothing around it but its clock."""

    def __init__(self, unit: Any) -> None:
        self.unit = unit
        self.clk, self.fast = Signal(), Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        _clocks(m, self)
        m.submodules.unit = self.unit
        return m


def _rtlil(top: Any, name: str, ports: list[Value]) -> str:
    clocks = [top.clk, top.fast] if getattr(top.unit, "fast", False) else [top.clk]
    return str(rtlil.convert(top, name=name, ports=[*clocks, *ports], emit_src=False))


def unit_cells(
    factory: Callable[[], Any],
    name: str,
    *,
    progress: Progress = lambda stage: None,
    cache: Cache | None = None,
) -> dict[str, int]:
    """Cells by type of the component that `factory` makes, alone, after `synth_ecp5`."""
    alone = _Alone(factory())
    inputs, outputs = _members(alone.unit)
    bare = Design(name=name, rtlil=_rtlil(alone, name, [*inputs, *outputs]), family=FAMILY)
    with Children() as children, tempfile.TemporaryDirectory(prefix="setun-unit-") as logs:
        flow = Flow(children, cache or Cache(), Path(logs), progress)
        return report.netlist_cells(flow.synthesise(bare)[0] / "stat.json")


def unit_report(
    factory: Callable[[], Any],
    name: str,
    *,
    clock_mhz: float = 100.0,
    seed: int = 1,
    device: Device = DEVICE,
    progress: Progress = lambda stage: None,
    cache: Cache | None = None,
) -> dict[str, Any]:
    """Cost and speed of the component that `factory` makes, in the domain `sync`.

    A unit with `fast` has the domain `FAST` too, and Fmax is that of the slower of both.

    Cells are those of the unit alone after `synth_ecp5`; Fmax that after placement and
    routing between registers, aimed at `clock_mhz`.

    Returns
    -------
    dict
        unit, lut4 (each carry cell counts 2, each 16 × 4 RAM 4), comb (TRELLIS_COMB that
        nextpnr takes: lut4, constants and what ends of carry chains cost), carry (CCU2C), ff,
        block_ram (18 kbit), multipliers (18 × 18), fmax_mhz, cells (by type).
    """
    cells = unit_cells(factory, name, progress=progress, cache=cache)
    harness = _Harness(factory())
    _, outputs = _members(harness.unit)
    pins: list[Value] = [harness.source, harness.parity]
    with Children() as children, tempfile.TemporaryDirectory(prefix="setun-unit-") as logs:
        flow = Flow(children, cache or Cache(), Path(logs), progress)
        timed = Design(name=name, rtlil=_rtlil(harness, name, pins), family=FAMILY)
        folder, _ = flow.place_and_route(timed, device, clock_mhz=clock_mhz, seed=seed)
        fmax, _ = report.timing(folder / "timing.json", clock_mhz)
        placed, _ = report.utilisation(folder / "timing.json", FAMILY)["luts"]
    used = FAMILY.needs(cells)
    return {
        "unit": name,
        "lut4": used.get("luts", 0),
        "comb": placed - _Harness.luts(len(Cat(*outputs))),
        "carry": cells.get("CCU2C", 0),
        "ff": used.get("registers", 0),
        "block_ram": used.get("block_ram", 0),
        "multipliers": used.get("multipliers", 0),
        "fmax_mhz": fmax,
        "cells": {cell: n for cell, n in cells.items() if not cell.startswith("$")},
    }
