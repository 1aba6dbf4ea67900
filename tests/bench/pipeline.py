"""Bench of units without handshake: arrays in on every cycle, arrays out `latency` later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cocotb
import numpy as np
from amaranth.hdl import Module, Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import Flow, Out
from bench import context
from bench.mismatch import Mismatch, compare
from cocotb.triggers import FallingEdge
from numpy.typing import ArrayLike, NDArray

from setun.firmware.formats import Format


class Unit(Protocol):
    """What a pipeline offers beside its ports: a fixed latency and a bit-true twin."""

    latency: int
    fmt: Format
    signature: wiring.Signature

    def model(self, *inputs: ArrayLike) -> Any:
        """Outputs for inputs, both in the order of the members."""


class Bundle(wiring.Component):
    """Several components side by side, so that one compilation serves them all.

    Members: `name` for each of the given components, with that component's own signature.
    """

    def __init__(self, units: Mapping[str, Any]) -> None:
        self.units = dict(units)
        super().__init__({name: Out(unit.signature) for name, unit in self.units.items()})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for name, unit in self.units.items():
            m.submodules[name] = unit
            wiring.connect(m, wiring.flipped(getattr(self, name)), unit)
        return m


def ports(unit: Unit, flow: Flow) -> list[str]:
    """Names of a unit's ports of one direction, in the order of its members."""
    return [name for name, member in unit.signature.members.items() if member.flow == flow]


@dataclass(frozen=True, kw_only=True)
class Job:
    """Vectors for one unit: `inputs` in the order of its members, all of one length."""

    name: str
    unit: Unit
    inputs: Sequence[ArrayLike]


def prepare(jobs: Sequence[Job]) -> tuple[dict[str, Any], dict[str, NDArray[np.int64]]]:
    """`parameters` and `arrays` for `run_bench` of a `Bundle`: inputs and what the models say."""
    arrays: dict[str, NDArray[np.int64]] = {}
    described = []
    for job in jobs:
        ins, outs = ports(job.unit, wiring.In), ports(job.unit, wiring.Out)
        result = job.unit.model(*job.inputs)
        results = result if isinstance(result, tuple) else (result,)
        members = job.unit.signature.members
        widths = {port: Shape.cast(members[port].shape).width for port in (*ins, *outs)}
        for port, values in zip((*ins, *outs), (*job.inputs, *results), strict=True):
            word = np.asarray(values).astype(np.int64) & ((1 << widths[port]) - 1)
            arrays[f"{job.name}__{port}"] = word
        fmt = job.unit.fmt
        described.append(
            {
                "name": job.name,
                "latency": job.unit.latency,
                "inputs": ins,
                "outputs": outs,
                "widths": widths,
                "format": [fmt.exponent, fmt.mantissa],
            }
        )
    return {"jobs": described}, arrays


async def _drive(dut: Any, job: dict[str, Any]) -> str | None:
    """Feed one unit, compare its outputs; the report of what differs."""
    arrays = context.arrays()
    name, latency = job["name"], job["latency"]
    ins = [getattr(dut, f"{name}__{port}") for port in job["inputs"]]
    outs = [getattr(dut, f"{name}__{port}") for port in job["outputs"]]
    rows = list(zip(*(arrays[f"{name}__{port}"].tolist() for port in job["inputs"]), strict=True))
    got: list[list[int]] = [[] for _ in outs]
    edge = FallingEdge(dut.clk)
    for cycle in range(len(rows) + latency):
        if cycle >= latency:
            for column, handle in zip(got, outs, strict=True):
                column.append(int(handle.value))
        if cycle < len(rows):
            for handle, value in zip(ins, rows[cycle], strict=True):
                handle.value = value
        await edge
    reports = []
    for port, values in zip(job["outputs"], got, strict=True):
        width = job["widths"][port]
        fmt = Format(*job["format"])
        try:
            compare(
                f"port {port}", arrays[f"{name}__{port}"], values,
                fmt if width == fmt.width and port == "o" else None,
                unit=name, width=width,
                inputs={p: arrays[f"{name}__{p}"] for p in job["inputs"]},
            )  # fmt: skip
        except Mismatch as error:
            reports.append(str(error))
    return "\n".join(reports) or None


@cocotb.test()
async def vectors(dut: Any) -> None:
    """Every job of the bundle at once, a vector a cycle."""
    await context.start(dut)
    tasks = [cocotb.start_soon(_drive(dut, job)) for job in context.parameters()["jobs"]]
    reports = [report for task in tasks if (report := await task)]
    if reports:
        raise AssertionError("\n".join(reports))
