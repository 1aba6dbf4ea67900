"""From Verilog to an executable: generate C++, compile it on every core, link."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from setun.firmware.errors import SetunError
from setun.sim.simulator.tools import FASTEST, Tools

Progress = Callable[[str], None]
DRIVER = Path(__file__).parent / "driver"
TOP = "setun_bench"

_HOT = ("-O3", "-march=native")
_COLD = ("-O0",)
# CXXRTL writes one function a module. Flat is several times faster to run, but g++ takes minutes
# over a function of a large chip; such a chip keeps its modules. Characters of Verilog, a module
# counted as often as it is used.
_FLAT_CHARACTERS = 600_000
_MODULE = re.compile(r"^module (?:\\(\S+) |(\w+))", re.MULTILINE)
_PART = re.compile(r"^ +(?:\\(\S+) |(\w+)) +(?:\\\S+ |\w+) ?\(", re.MULTILINE)
_HIERARCHY = ("-O1", "-march=native")
_WRAPPER = """\
// The chip on its clock, with a power-on reset of eight cycles. Reset and rx come from registers
// so that nothing inside depends combinationally on what the driver sets.
module {top}(input clk, {input}input rx, output tx);
  reg [3:0] count = 0;
  reg rst = 1;
  reg rx_in = 1;
  always @(posedge clk) begin
    rx_in <= rx;
    rst <= count != 8;
    if (count != 8) count <= count + 1;
  end
  {chip} chip(.clk(clk), .rst(rst), {pin}.rx(rx_in), .tx(tx));
endmodule
"""


def wrapper(chip: str, fast: bool) -> str:
    """Verilog of the module that the driver clocks, with a second clock if `fast`."""
    given = {"input": "input fast_clk, ", "pin": ".fast_clk(fast_clk), "} if fast else {}
    return _WRAPPER.format(top=TOP, chip=chip, **({"input": "", "pin": ""} | given))


def driver_text() -> bytes:
    """Everything of the driver that an executable is made of."""
    files = sorted(p for p in DRIVER.rglob("*") if p.suffix in (".cpp", ".h"))
    return b"".join(p.relative_to(DRIVER).as_posix().encode() + p.read_bytes() for p in files)


def recipe(tools: Tools, waves: bool) -> str:
    """The flags used, as text for a hash."""
    if tools.simulator == "verilator":
        generate = _verilator(waves)
    else:
        generate = [_yosys(waves, True), _yosys(waves, False), str(_FLAT_CHARACTERS), *_HIERARCHY]
    return "\n".join([*generate, *_flags(tools, waves), *_hot(tools), *_COLD])


def _hot(tools: Tools) -> list[str]:
    """Flags of what runs in every cycle."""
    return list(_HOT) if tools.level == FASTEST else [f"-O{tools.level}"]


def build_runtime(folder: Path, tools: Tools, waves: bool) -> None:
    """Compile the part of Verilator's library that no chip changes into ``folder``."""
    sources = {"verilated": "-O1", "verilated_threads": "-O1"}
    if waves:
        sources["verilated_fst_c"] = "-O2"
    include = tools.include / "include"
    jobs = [(include / f"{s}.cpp", folder / f"{s}.o", [level]) for s, level in sources.items()]
    _compile(tools, jobs, _flags(tools, waves), None)


def build_chip(
    folder: Path,
    verilog: str,
    divisor: int,
    tools: Tools,
    runtime: Path | None,
    waves: bool,
    fast: bool,
    progress: Progress | None,
) -> None:
    """Make ``folder/chip`` from complete Verilog with :func:`wrapper` in it."""
    # The scratch name changes each time: absolute paths would end up in the executable.
    with tempfile.TemporaryDirectory(prefix="obj-", dir=folder) as scratch:
        work = Path(scratch)
        flat = _flat_characters(verilog) <= _FLAT_CHARACTERS
        (work / "chip.v").write_text(verilog)
        if tools.simulator == "verilator":
            _run(tools, [*tools.command, *_verilator(waves)], work, "Verilator")
            slow = sorted(work.glob("V*__Slow.cpp"))
            _together(work / "cold.cpp", slow)
            sources = [p for p in sorted(work.glob("V*.cpp")) if p not in slow]
        else:
            _run(tools, [*tools.command, "-q", "-p", _yosys(waves, flat)], work, "Yosys")
            sources = [work / "chip.cc"]
        level = _hot(tools) if flat or tools.simulator == "verilator" else list(_HIERARCHY)
        main = DRIVER / "main.cpp"
        if tools.level < FASTEST and tools.simulator == "verilator":
            main, sources = _together(work / "hot.cpp", [*sources, main]), []
        jobs = [(p, p.with_suffix(".o"), level) for p in sources]
        jobs.append((main, work / "main.o", _hot(tools)))
        if tools.simulator == "verilator":
            jobs.append((work / "cold.cpp", work / "cold.o", list(_COLD)))
        jobs.sort(key=lambda job: -job[0].stat().st_size)
        flags = [*_flags(tools, waves), f"-DSETUN_FLAT={int(flat)}", f"-DSETUN_FAST={int(fast)}"]
        flags.append(f"-DSETUN_DIVISOR={divisor}")
        flags += [f"-I{work}", f"-I{DRIVER}"]
        _compile(tools, jobs, flags, progress)
        objects = [str(job[1]) for job in jobs]
        if runtime is not None:
            objects += [str(p) for p in sorted(runtime.glob("*.o"))]
        link = [*tools.compiler, *objects, "-o", str(folder / "chip"), "-lpthread"]
        if _system_fst(tools, waves):
            link.append("-lz")
        _run(tools, link, work, "C++ linker")


def _together(file: Path, sources: Sequence[Path]) -> Path:
    """`file` that has all `sources` in it, which a compiler reads faster than one by one."""
    file.write_text("".join(f'#include "{source.name}"\n' for source in sources))
    return file


def _flat_characters(verilog: str) -> int:
    """Length of Verilog whose modules were written out wherever they are used."""
    starts = [*_MODULE.finditer(verilog)]
    ends = [m.start() for m in starts[1:]] + [len(verilog)]
    texts = {m[1] or m[2]: verilog[m.start() : end] for m, end in zip(starts, ends, strict=True)}

    @lru_cache(None)
    def length(module: str) -> int:
        parts = [m[1] or m[2] for m in _PART.finditer(texts[module])]
        return len(texts[module]) + sum(length(p) for p in parts if p in texts)

    return length(TOP)


def _verilator(waves: bool) -> list[str]:
    options = ["--cc", "-O3", "--assert", "--no-timing", "--x-assign", "fast"]
    options += ["--x-initial", "fast", "-Wno-fatal", "-Wno-lint", "--prefix", "Vchip"]
    options += ["--output-split", "200000", "--top-module", TOP, "--Mdir", ".", "chip.v"]
    return [*options, "--trace-fst"] if waves else options


def _yosys(waves: bool, flat: bool) -> str:
    prepare = f"read_verilog chip.v; hierarchy -top {TOP}; proc"
    shape = "" if flat else "-noflatten"
    return f"{prepare}; write_cxxrtl {shape} -header {'-g4' if waves else '-g1'} chip.cc"


def _flags(tools: Tools, waves: bool) -> list[str]:
    if tools.simulator == "cxxrtl":
        # Without NDEBUG a read beyond a memory ends the simulation, even if nobody uses the data.
        flags = ["-std=c++17", "-DNDEBUG", "-DSETUN_CXXRTL", f"-DSETUN_WAVES={int(waves)}"]
        flags += [f"-I{tools.include}"]
    else:
        flags = ["-std=c++20", "-DVL_TIME_CONTEXT", "-DVERILATOR=1"]
        flags += [f"-DVM_{name}=0" for name in ("COVERAGE", "SC", "TIMING", "TRACE_SAIF")]
        flags += ["-DVM_TRACE_VCD=0", f"-DVM_TRACE={int(waves)}", f"-DVM_TRACE_FST={int(waves)}"]
        if waves and not _system_fst(tools, waves):
            flags.append(f"-I{DRIVER / 'fst'}")
        flags += [f"-I{tools.include / 'include'}", f"-I{tools.include / 'include' / 'vltstd'}"]
    # Without this zig traps on what the generated code does on purpose.
    return (
        [*flags, "-w", "-fno-sanitize=undefined"] if "ziglang" in tools.compiler else [*flags, "-w"]
    )


def _system_fst(tools: Tools, waves: bool) -> bool:
    """Whether FST goes through GTKWave's writer, which needs all of zlib, or through fstcpp."""
    return (
        waves
        and tools.simulator == "verilator"
        and (not (tools.include / "include" / "fstcpp").is_dir())
    )


def _compile(
    tools: Tools,
    jobs: Sequence[tuple[Path, Path, list[str]]],
    flags: list[str],
    progress: Progress | None,
) -> None:
    """Compile (source, object, extra flags), one on each core."""
    waiting = list(jobs)
    cores = len(os.sched_getaffinity(0))
    running: dict[Path, subprocess.Popen[bytes]] = {}
    done = 0
    try:
        while waiting or running:
            while waiting and len(running) < cores:
                source, out, extra = waiting.pop(0)
                command = [*tools.compiler, *flags, *extra, "-c", str(source), "-o", str(out)]
                running[out] = _start(tools, command, out.with_suffix(".log"), out.parent)
            time.sleep(0.02)
            for out, process in list(running.items()):
                if process.poll() is None:
                    continue
                del running[out]
                _check(process.returncode, out.with_suffix(".log"), "C++ compiler")
                done += 1
                if progress is not None:
                    progress(f"compiled {done} of {len(jobs)} files")
    finally:
        for process in running.values():
            _kill(process)


def _run(tools: Tools, command: list[str], cwd: Path, what: str) -> None:
    log = cwd / "run.log"
    process = _start(tools, command, log, cwd)
    try:
        code = process.wait()
    finally:
        _kill(process)
    _check(code, log, what)


def _start(tools: Tools, command: list[str], log: Path, cwd: Path) -> subprocess.Popen[bytes]:
    environment = dict(os.environ, LC_ALL="C")
    if tools.simulator == "verilator":
        environment["VERILATOR_ROOT"] = str(tools.include)
    try:
        with log.open("wb") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=environment,
                start_new_session=True,
            )
    except OSError as error:
        raise SetunError(command[0], "must run", error.strerror or error) from error


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a tool that still runs, with the passes it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _check(code: int, log: Path, what: str) -> None:
    if code == 0:
        return
    lines = log.read_text("utf-8", "replace").splitlines()
    errors = [line for line in lines if "error" in line.lower()] or lines[-1:] or [f"status {code}"]
    raise SetunError(what, "must accept the chip", errors[0][:300])
