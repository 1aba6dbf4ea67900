"""One piece of work as data, and the name of its result: a hash of all that it depends on."""

import hashlib
import importlib
import json
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from setun.hw.fpga.families import family
from setun.hw.fpga.flow.cache import digest
from setun.hw.fpga.flow.toolchain import YOSYS, find_tool

# Packages whose files decide a result, by kind of work.
_CHIP = ("setun.boards", "setun.constraints", "setun.firmware", "setun.hw")
PACKAGES = {
    "estimate": (*_CHIP, "setun.estimate"),
    "place": _CHIP,
    "cycles": (*_CHIP, "setun.backends", "setun.sim"),
    "loss": ("setun.firmware", "setun.sim"),
}
SUFFIXES = {".py", ".toml", ".json", ".cpp", ".h"}
DISTRIBUTIONS = ("amaranth", "amaranth-boards")  # they write the design


@dataclass(frozen=True)
class Work:
    """What a worker does, as JSON: `kind` is one of `PACKAGES`."""

    kind: str
    inputs: dict[str, Any]

    @cached_property
    def key(self) -> str:
        """SHA-256 of kind and inputs, in hex."""
        return digest(self.kind, self.inputs)


@cache
def sources(kind: str) -> str:
    """SHA-256 of the files of Setun that a kind of work runs."""
    found = hashlib.sha256()
    for package in PACKAGES[kind]:
        (folder,) = importlib.import_module(package).__path__
        for path in sorted(Path(folder).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file():
                content = path.read_bytes()
                name = f"{package}/{path.relative_to(folder).as_posix()}"
                found.update(json.dumps([name, len(content)]).encode() + content)
    return found.hexdigest()


@cache
def tools(kind: str, fpga: str) -> dict[str, str]:
    """Versions of what else decides a result, here, for an FPGA of a family.

    Raises
    ------
    SetunError
        A tool is missing.
    """
    if kind != "place":
        return {}
    wanted = family(fpga).flow()
    found = {name: metadata.version(name) for name in DISTRIBUTIONS}
    names = (YOSYS.name, wanted.placer.name, wanted.packer.name)
    return found | {name: str(find_tool(name)) for name in names}


def made_with(kind: str, fpga: str) -> dict[str, Any]:
    """`sources` and `tools`: results of two machines are the same where these are."""
    return {"sources": sources(kind), "tools": tools(kind, fpga)}
