"""Bench of units without handshake: arrays in on every cycle, arrays out `latency` later.

Many units share one simulation: all their inputs form one wide port and all their outputs
another, because what a cycle costs in Python is the number of ports touched.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cocotb
import numpy as np
from amaranth.hdl import Cat, Module, Shape, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cocotb.triggers import FallingEdge
from numpy.typing import ArrayLike, NDArray

from bench import context
from bench.mismatch import Mismatch, compare
from bench.runner import run_bench
from bench.waves import trace
from setun.firmware.numerics.formats import Format


class Unit(Protocol):
    """What a pipeline offers beside its ports: a fixed latency and a bit-true twin."""

    latency: int
    fmt: Format
    signature: wiring.Signature
    model: Any  # arrays in the order of the inputs -> array, or a tuple of one for each output


def ports(unit: Unit, flow: wiring.Flow) -> dict[str, int]:
    """Widths of a unit's ports of one direction, in the order of its members."""
    return {
        name: Shape.cast(member.shape).width
        for name, member in unit.signature.members.items()
        if member.flow == flow
    }


class Bundle(wiring.Component):
    """Pipelines side by side behind two ports.

    Members
    -------
    i : In
        Every input of every unit, the first one lowest.
    o : Out
        Every output likewise.
    """

    def __init__(self, units: Mapping[str, Any]) -> None:
        self.units = dict(units)
        ins = sum(sum(ports(unit, In).values()) for unit in self.units.values())
        outs = sum(sum(ports(unit, Out).values()) for unit in self.units.values())
        super().__init__({"i": In(ins), "o": Out(outs)})

    def wave_groups(self) -> Iterator[tuple[str, list[str]]]:
        """The ports of each unit, by path below the top."""
        for name, unit in self.units.items():
            members = unit.signature.members.items()
            yield name, [trace(f"{name}.{port}", member.shape) for port, member in members]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        at = 0
        outs: list[Value] = []
        for name, unit in self.units.items():
            m.submodules[name] = unit
            for port, width in ports(unit, In).items():
                m.d.comb += getattr(unit, port).eq(self.i[at : at + width])
                at += width
            outs += [Value.cast(getattr(unit, port)).as_unsigned() for port in ports(unit, Out)]
        m.d.comb += self.o.eq(Cat(*outs))
        return m


@dataclass(frozen=True, kw_only=True)
class Job:
    """Vectors for one unit: `inputs` in the order of its members, all of one length."""

    name: str
    unit: Any
    inputs: Sequence[ArrayLike]


def check(jobs: Sequence[Job], *, seed: int = 1) -> None:
    """Drive every unit with its vectors in one simulation; fail with what differs."""
    arrays: dict[str, NDArray[np.int64]] = {}
    described = []
    for job in jobs:
        ins, outs = ports(job.unit, In), ports(job.unit, Out)
        result = job.unit.model(*job.inputs)
        results = result if isinstance(result, tuple) else (result,)
        for (port, width), values in zip(
            (*ins.items(), *outs.items()), (*job.inputs, *results), strict=True
        ):
            arrays[f"{job.name}__{port}"] = np.asarray(values, np.int64) & ((1 << width) - 1)
        fmt = job.unit.fmt
        described.append(
            {
                "name": job.name,
                "latency": job.unit.latency,
                "inputs": ins,
                "outputs": outs,
                "format": [fmt.exponent, fmt.mantissa],
            }
        )
    units = {job.name: job.unit for job in jobs}
    parameters = {"jobs": described}
    run_bench(Bundle(units), "bench.pipeline", parameters=parameters, arrays=arrays, seed=seed)


def _bits(values: NDArray[np.int64], width: int, rows: int) -> NDArray[np.uint8]:
    """Rows of bits of `values`, lowest first, padded with zeros to `rows`."""
    raw = np.zeros((rows, 8), np.uint8)
    raw[: len(values)] = values.astype("<i8").view(np.uint8).reshape(-1, 8)
    return np.unpackbits(raw, axis=1, bitorder="little")[:, :width]


def _ints(bits: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Integers of rows of bits, lowest first."""
    packed = np.packbits(bits, axis=1, bitorder="little")
    raw = np.zeros((len(bits), 8), np.uint8)
    raw[:, : packed.shape[1]] = packed
    return raw.view("<i8")[:, 0].astype(np.int64)


async def _run(dut: Any, words: list[int], warm: int) -> list[int]:
    """Outputs after each of `words`; the first `warm` cycles only fill the pipelines."""
    edge = FallingEdge(dut.clk)
    give, take = dut.i, dut.o
    got = []
    for cycle, word in enumerate(words):
        if cycle > warm:
            got.append(int(take.value))
        give.value = word
        await edge
    got.append(int(take.value))
    return got


@cocotb.test()
async def vectors(dut: Any) -> None:
    """Every job of the bundle at once, a vector a cycle."""
    jobs, arrays = context.parameters()["jobs"], context.arrays()
    warm = max(job["latency"] for job in jobs)
    longest = max(len(arrays[f"{j['name']}__{p}"]) for j in jobs for p in j["inputs"])
    rows = longest + warm
    wide = np.concatenate(
        [_bits(arrays[f"{j['name']}__{p}"], w, rows) for j in jobs for p, w in j["inputs"].items()],
        axis=1,
    )
    packed = np.packbits(wide, axis=1, bitorder="little")
    words = [0] * warm + [int.from_bytes(row.tobytes(), "little") for row in packed]

    await context.start(dut)
    got = await _run(dut, words, warm)

    size = (sum(sum(job["outputs"].values()) for job in jobs) + 7) // 8
    raw = np.frombuffer(b"".join(word.to_bytes(size, "little") for word in got), np.uint8)
    seen = np.unpackbits(raw.reshape(len(got), size), axis=1, bitorder="little")
    reports = []
    at = 0
    for job in jobs:
        fmt = Format(*job["format"])
        for port, width in job["outputs"].items():
            name = f"{job['name']}__{port}"
            first = job["latency"] - 1
            have = _ints(seen[first : first + len(arrays[name]), at : at + width])
            at += width
            inputs = {p: arrays[f"{job['name']}__{p}"] for p in job["inputs"]}
            shown = fmt if width == fmt.width else None
            try:
                compare(
                    f"port {port}",
                    arrays[name],
                    have,
                    shown,
                    unit=job["name"],
                    width=width,
                    inputs=inputs,
                )
            except Mismatch as error:
                reports.append(str(error))
    if reports:
        raise AssertionError("\n".join(reports))
