"""`run_bench`: one cocotb bench under pytest, with its waves kept when it fails."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.lib.wiring import Component
from numpy.typing import ArrayLike

from bench.cells import linked
from bench.context import FOLDER
from bench.simulator import compiled, simulator, tools
from bench.waves import write_gtkw
from setun.hw.emit.conversion import verilog_of

WAVES = "SETUN_BENCH_WAVES"  # environment variable behind pytest's --waves
# Of Amaranth, for other tools than simulators.
ATTRIBUTES = "generator", "top", "src", "amaranth.hierarchy", "amaranth.decoding"
_written: set[Path] = set()


def to_verilog(component: Component, name: str = "top") -> str:
    """Verilog of a component: the same text for the same design, on any machine."""
    unwanted = " ".join(f"-remove {name}" for name in ATTRIBUTES)
    text = rtlil.convert(component, name=name, emit_src=False)
    return verilog_of(text, f"attrmap {unwanted}", f"attrmap -modattr {unwanted}")


def run_bench(
    component: Component,
    test_module: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    arrays: Mapping[str, ArrayLike] | None = None,
    env: Mapping[str, str] | None = None,
    testcase: str | None = None,
    seed: int = 1,
    waves: Path | None = None,
    top: str = "top",
    cells: str = "",
    models: str = "",
) -> None:
    """Run the cocotb tests of `test_module` against `component`; fail as pytest does.

    Parameters
    ----------
    component
        Device under test; its ports are flattened as Amaranth writes them (`i__payload`).
    test_module
        Importable name of a module with `@cocotb.test()` coroutines, such as `bench.pipeline`.
    parameters, arrays
        JSON values and NumPy arrays, read by `bench.context` inside the simulator.
    env
        Further environment variables of the simulation.
    testcase
        Run this test of the module only.
    seed
        Seeds `bench.context.generator` and cocotb's own `random`; printed when the bench fails.
    waves
        Write FST waves to this file; `pytest --waves FILE.fst` does so for every bench run. A
        failing bench is run again with waves whatever this says, and its folder is kept.
    top
        Name of the Verilog top module.
    cells
        Verilog of the vendor cells that the component instantiates.
    models
        Verilog of modules that it instantiates and that only the simulator shall read: models
        that Yosys, which links `cells`, does not take.
    """
    text = to_verilog(component, top)
    if cells:
        text = linked(text, cells, top)
    text += models
    wanted = waves or _wanted()
    run = Path(tempfile.mkdtemp(prefix=f"setun-{test_module.rpartition('.')[2]}-"))
    context = {"parameters": dict(parameters or {}), "seed": seed}
    (run / "context.json").write_text(json.dumps(context))
    if arrays:
        plain = {name: np.asarray(values) for name, values in arrays.items()}
        np.savez(run / "arrays.npz", allow_pickle=False, **plain)

    def once(file: Path | None) -> str | None:
        return _simulate(text, top, test_module, run, file, seed, env or {}, testcase)

    kept = False
    try:
        failure = once(wanted)
        if failure is None:
            return
        kept = True
        file = wanted or run / "waves.fst"
        if wanted is None:
            once(file)
        write_gtkw(file, component, top)
        pytest.fail(
            f"{failure}\nseed {seed}; kept in {run}: {file.name}, {file.stem}.gtkw, simulation.log",
            pytrace=False,
        )
    finally:
        if not kept:
            if wanted is not None and wanted.exists():
                write_gtkw(wanted, component, top)
            shutil.rmtree(run, ignore_errors=True)


def _wanted() -> Path | None:
    """File of `--waves`, numbered from the second bench of a pytest run on."""
    given = os.environ.get(WAVES)
    if not given:
        return None
    first = Path(given).absolute()
    file, count = first, 1
    while file in _written:
        count += 1
        file = first.with_name(f"{first.stem}-{count}{first.suffix}")
    _written.add(file)
    return file


def _simulate(
    text: str,
    top: str,
    module: str,
    run: Path,
    waves: Path | None,
    seed: int,
    env: Mapping[str, str],
    testcase: str | None,
) -> str | None:
    """Run once; None when every test passed, else what failed."""
    runner, build = compiled(text, top, waves=waves is not None)
    results = run / "results.xml"
    log = run / "simulation.log"
    results.unlink(missing_ok=True)
    arguments = ["--trace-file", str(waves)] if waves and simulator() == "verilator" else []
    # What failed stands in the results.
    with tools(simulator()), contextlib.suppress(SystemExit):
        runner.test(
            test_module=module,
            hdl_toplevel=top,
            hdl_toplevel_lang="verilog",
            build_dir=build,
            test_dir=run,
            results_xml=str(results),
            extra_env={FOLDER: str(run), "COCOTB_ANSI_OUTPUT": "0", **env},
            test_args=arguments,
            testcase=testcase,
            seed=seed,
            waves=waves is not None,
            log_file=log,
        )
    if waves and simulator() == "icarus":
        for dumped in build.glob("*.fst"):
            shutil.move(dumped, waves)
    return _failure(results, log)


def _failure(results: Path, log: Path) -> str | None:
    tail = log.read_text(errors="replace")[-3000:] if log.exists() else ""
    if not results.exists():
        return f"the simulation ended without results\n{tail}"
    cases = list(ElementTree.parse(results).getroot().iter("testcase"))
    if not cases:
        return f"no test ran\n{tail}"
    failures = []
    for case in cases:
        for child in (*case.findall("failure"), *case.findall("error")):
            said = child.get("message") or child.get("error_msg") or child.text or ""
            failures.append(f"{case.get('name')}: {said}")
    return "\n".join(failures) or None
