"""Programs in image files: what no chip can run is refused, whatever the rest of the file."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.image.hostile import VALUES, refusal, survives, with_program
from setun.firmware.program.isa import Instruction

FIELDS = st.sampled_from([f.name for f in dataclasses.fields(Instruction)])


def edit(at: int, **fields: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda program: program[at].update(fields)


def drop(at: int) -> Callable[[list[dict[str, Any]]], None]:
    return lambda program: program.pop(at) and None


def streamed(matvec: int, quantise: int) -> Callable[[list[dict[str, Any]]], None]:
    def change(program: list[dict[str, Any]]) -> None:
        program[matvec]["feeds"] = program[quantise]["stream"] = True

    return change


def unstreamed(program: list[dict[str, Any]]) -> None:
    """A quantiser that neither waits nor streams."""
    program[8]["feeds"] = program[9]["stream"] = False


def streamed_behind_another(program: list[dict[str, Any]]) -> None:
    """Two quantised vectors wait before the matvec that feeds."""
    program.insert(8, dict(program[7]))


def overtaken(program: list[dict[str, Any]]) -> None:
    """i writes x, which f's quantiser still has to read."""
    program[4], program[5] = program[5], {**program[4], "dst": 0}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (edit(3, op="JUMP"), "op must be one of"),
        (edit(3, speed=1), "'speed'"),
        (edit(3, n="64"), "n must be of type int"),
        (edit(3, sync=1), "sync must be of type bool"),
        (edit(3, immediate=1), "immediate must be of type float"),
        (edit(3, n=1 << 40), "fit 32 bits"),
        (edit(3, n=1_048_576), "n must fit 20 bits"),
        (edit(3, note="a\nb"), "line of text"),
        (edit(3, note=5), "note must be of type str"),
        (edit(3, immediate=float("inf")), "fit 32 bits"),
        (edit(3, immediate=0.5), "immediate must be 1/64"),
        (edit(3, constants=7), "multiples of 32"),
        (edit(3, constants=1 << 20), "multiples of 32"),
        (edit(3, src=64), "nobody wrote 64 elements at v[64]"),
        (edit(3, n=63), "nobody wrote 63"),
        (edit(3, mean_square="ARRAY"), "no matvec with a GLU"),
        (edit(4, dst=1 << 15), "at the start of a region"),
        (edit(4, dst=65), "at the start of a region"),
        (edit(4, dst=0, kernel="SAMPLE"), "must be in the head"),
        (edit(4, keep=True), "no vector waits when one streams"),
        (lambda p: p.insert(-3, {**p[14], "stream": False, "sync": True}), "columns; found"),
        (edit(4, stat_shift=90), "stat_shift must fit 5 bits"),
        (edit(4, kernel="RELU"), "kernel must be one of COPY, SILU"),
        (edit(4, sync=True), "has no field sync"),
        (edit(3, dst=64), "has no field dst"),
        (edit(4, feeds=True), "feeds and stream go together"),
        (edit(5, stream=True), "feeds and stream go together"),
        (edit(8, feeds=False), "feeds and stream go together"),
        (edit(9, stream=False, sync=True), "feeds and stream go together"),
        (edit(9, src=0), "what the matvec before makes"),
        (streamed(6, 7), "only a stored vector feeds"),
        (streamed(4, 5), "what the matvec before makes"),
        (streamed_behind_another, "no vector waits when one streams"),
        (unstreamed, "may not be stored yet"),
        (edit(4, dst=0), "may not be stored yet"),
        (overtaken, "may not be quantised yet"),
        (edit(6, dst=128), "must be a region of the state"),
        (edit(6, dst=32), "must be a region of the state"),
        (edit(2, immediate=31), "rows take 32 pairs"),
        (edit(2, n=32), "must have 64 elements"),
        (edit(2, constants=3), "behind the gains"),
        (edit(1, constants=2.0), "between 0 and 1"),
        (edit(0, src=1), "model hash"),
        (drop(0), "starts with MODEL"),
        (drop(1), "SCALARS come first"),
        (drop(2), "nobody wrote"),
        (drop(3), "nothing was quantised"),
        (drop(4), "instruction 5 MATVEC"),
        (drop(-1), "two ENDs"),
        (drop(-2), "every quantised vector is used"),
        (lambda p: p.append({"op": "END"}), "nothing follows"),
        (lambda p: p.insert(3, p[3]), "no vector waits when one streams"),
        (lambda p: p.insert(5, p[0]), "starts with MODEL"),
        (lambda p: p.clear(), "canonical"),
        (lambda p: p[3].pop("op"), "needs an op"),
        (lambda p: p.__setitem__(3, 5), "list of instructions"),  # type: ignore[arg-type, call-overload]
    ],
)
def test_programs_the_chip_cannot_run(change: Any, rule: str) -> None:
    assert rule in refusal(with_program(change))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), FIELDS, VALUES), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=2),
)
def test_hostile_programs_never_crash(
    edits: list[tuple[int, str, Any]], swaps: list[tuple[int, int]]
) -> None:
    def change(program: list[dict[str, Any]]) -> None:
        for at, name, value in edits:
            program[at % len(program)][name] = value
        for a, b in swaps:
            a, b = a % len(program), b % len(program)
            program[a], program[b] = program[b], program[a]

    survives(with_program(change))
