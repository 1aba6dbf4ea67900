"""Compiling Verilog for cocotb, cached by content."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cocotb
import cocotb_tools.config
import pytest
from cocotb_tools.runner import Runner, get_runner

from setun.sim.simulator.cache import build_once
from setun.sim.simulator.tools import Tools, find_tools

SHIMS = Path(__file__).parent / "shims"
# Python per cycle dominates a bench, so its own code is compiled for speed of compilation, and as
# one file: Verilator's headers are the larger part of a small bench. The library is compiled once.
OWN, LIBRARY = "-O0", "-O1"
KEPT_DAYS = 14
SIMULATORS = {"verilator": "verilator", "icarus": "iverilog"}


def simulator() -> str:
    """Name of the simulator: SIM=verilator (default) or SIM=icarus."""
    name = os.environ.get("SIM", "verilator")
    if name not in SIMULATORS:
        raise pytest.UsageError(f"SIM={name}: must be one of {', '.join(SIMULATORS)}")
    return name


@contextmanager
def tools(name: str) -> Iterator[None]:
    """Environment in which simulator `name` is found, restored afterwards."""
    saved = dict(os.environ)
    try:
        if name == "verilator":
            found = find_tools("verilator")
            os.environ["VERILATOR_ROOT"] = str(found.include)
            folder = str(Path(found.command[0]).parent)
            os.environ["PATH"] = os.pathsep.join([folder, os.environ["PATH"]])
        elif shutil.which(SIMULATORS[name]) is None:
            raise pytest.UsageError(f"SIM={name}: {SIMULATORS[name]} is not on PATH")
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def cache() -> Path:
    """Folder of compiled simulations, safe to delete; SETUN_BENCH_CACHE moves it."""
    given = os.environ.get("SETUN_BENCH_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(base) / "setun" / "bench"


def _arguments(name: str, waves: bool) -> list[str]:
    if name != "verilator":
        return ["-g2012"]
    arguments = ["-Wno-fatal", "-Wno-lint"]
    return [*arguments, "--trace-fst", "--trace-structs"] if waves else arguments


def compiled(verilog: str, top: str, *, waves: bool) -> tuple[Runner, Path]:
    """A cocotb runner and the folder of the compiled simulation of `verilog`.

    The folder is named by a hash of the text, the tools and the options; it appears whole or
    not at all, so benches may run side by side.
    """
    name = simulator()
    arguments = _arguments(name, waves)
    version = find_tools("verilator") if name == "verilator" else shutil.which(SIMULATORS[name])
    tool = [str(version), cocotb.__version__, sys.executable, OWN, LIBRARY]
    key = "\n".join([verilog, *tool, *arguments])
    final = cache() / hashlib.sha256(key.encode()).hexdigest()[:24]
    with tools(name):
        runner = get_runner(name)
        if final.is_dir():
            os.utime(final)
            return runner, final
        _forget()
        final.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="build-", dir=final.parent))
        source = work / "top.v"
        source.write_text(verilog)
        try:
            _build(runner, source, top, work, arguments, waves)
            try:
                os.replace(work, final)
            except OSError:
                if not final.is_dir():  # another bench was faster: its result is the same
                    raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return runner, final


def _forget() -> None:
    """Remove what no bench has used for long."""
    for folder in cache().glob("*/"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > KEPT_DAYS * 86_400:
                shutil.rmtree(folder)


def _build(
    runner: Runner, source: Path, top: str, work: Path, arguments: list[str], waves: bool
) -> None:
    log = work / "build.log"
    try:
        if simulator() == "verilator":
            _verilate(source, top, work, arguments, waves, log)
        else:
            runner.build(
                sources=[source],
                hdl_toplevel=top,
                build_dir=work,
                build_args=arguments,
                timescale=("1ns", "1ps"),
                waves=waves,
                log_file=log,
            )
    except (SystemExit, RuntimeError, subprocess.CalledProcessError) as error:
        tail = log.read_text(errors="replace")[-3000:] if log.exists() else ""
        pytest.fail(f"{top}: does not compile ({error})\n{tail}", pytrace=False)
    for left in work.iterdir():  # megabytes, of which the executable is one
        if left.suffix in (".o", ".d", ".cpp", ".h", ".mk"):
            left.unlink()


def _verilate(
    source: Path, top: str, work: Path, arguments: list[str], waves: bool, log: Path
) -> None:
    """Compile what cocotb's runner would make with Verilator's makefile, in one piece."""
    tools = find_tools("verilator")
    main = Path(cocotb_tools.config.share_dir) / "lib" / "verilator" / "verilator.cpp"
    libs = str(cocotb_tools.config.libs_dir)
    with log.open("w") as output:

        def run(*command: object) -> None:
            words = [str(word) for word in command]
            subprocess.run(words, cwd=work, stdout=output, stderr=output, check=True)

        options = ["--vpi", "--public-flat-rw", "--prefix", "Vtop", "--timescale", "1ns/1ps"]
        run(*tools.command, "-cc", "-Mdir", ".", "--top-module", top, *options, *arguments, source)
        parts = [*sorted(work.glob("V*.cpp")), main]
        (work / "all.cpp").write_text("".join(f'#include "{part}"\n' for part in parts))
        flags = ["-I.", *_flags(tools, waves)]
        run(*tools.compiler, *flags, OWN, "-c", "all.cpp", "-o", "all.o")
        library = sorted(_library(tools, waves).glob("*.o"))
        cocotb_library = [f"-Wl,-rpath,{libs}", f"-L{libs}", "-lcocotbvpi_verilator"]
        run(*tools.compiler, "all.o", *library, *cocotb_library, "-pthread", "-o", top)


def _flags(tools: Tools, waves: bool) -> list[str]:
    include = tools.include / "include"
    flags = [f"-I{include}", f"-I{include / 'vltstd'}", f"-I{SHIMS}", "-w", "-DVERILATOR=1"]
    off = ["COVERAGE", "SC", "TIMING", "TRACE_VCD", "TRACE_SAIF"]
    flags += [f"-DVM_{name}=0" for name in off]
    return [*flags, f"-DVM_TRACE={int(waves)}", f"-DVM_TRACE_FST={int(waves)}"]


def _library(tools: Tools, waves: bool) -> Path:
    """Folder of Verilator's run-time library, which no bench changes."""
    flags = _flags(tools, waves)
    names = ["verilated", "verilated_dpi", "verilated_vpi", "verilated_threads"]
    names += ["verilated_fst_c"] if waves else []

    def build(folder: Path) -> None:
        for name in names:
            file = tools.include / "include" / f"{name}.cpp"
            command = [*tools.compiler, *flags, LIBRARY, "-c", file, "-o", folder / f"{name}.o"]
            subprocess.run(command, check=True)

    key = "\n".join([str(tools), str(tools.include), *flags, LIBRARY])
    return build_once(cache() / "library", hashlib.sha256(key.encode()).hexdigest()[:24], build)[0]
