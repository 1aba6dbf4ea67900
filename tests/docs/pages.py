"""Commands that README and docs show, with the output they promise."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType

from bench.folders import ROOT

FENCE = "```"
ANYTHING = "…"  # in promised output


@dataclass
class Shown:
    """One command of a console block: where it stands, its words, the lines promised below it."""

    page: str
    line: int
    text: str
    output: list[str] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        """The command as a shell would split it, without its comment."""
        return shlex.split(self.text, comments=True)


def pages() -> list[Path]:
    """README and every page of docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@cache
def maker(name: str) -> ModuleType:
    """The program docs/make/NAME.py, as a module; it is not part of the package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "make" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def name(page: Path) -> str:
    """A page's path in the project."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Shown]:
    """The commands of a page's console blocks: lines that begin with `$ `."""
    inside, current = False, None
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if line.startswith(FENCE):
            if current:
                yield current
            inside, current = line == f"{FENCE}console", None
        elif inside and line.startswith(("$ ", "# ")):
            if current:
                yield current
            current = Shown(name(page), number, line[2:]) if line.startswith("$ ") else None
        elif inside and current:
            current.output.append(line)


def scripts(page: Path) -> list[str]:
    """The page's blocks of Python."""
    parts = page.read_text("utf-8").split(f"{FENCE}python\n")[1:]
    return [part.split(f"\n{FENCE}")[0] + "\n" for part in parts]


def inline(page: Path) -> Iterator[Shown]:
    """Commands between back quotes outside of blocks: `setun …`, `python -m setun…` and so on."""
    inside = False
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if line.startswith(FENCE):
            inside = not inside
        elif not inside:
            for text in line.split("`")[1::2]:
                if re.match(r"setun |python -m setun|python docs/make/", text):
                    yield Shown(name(page), number, text)


def agrees(promised: list[str], printed: str) -> bool:
    """Whether output is what was promised, `…` standing for anything, even many lines."""
    text = "\n".join(line.rstrip() for line in promised).strip()
    pattern = ".*".join(re.escape(part) for part in text.split(ANYTHING))
    found = "\n".join(line.rstrip() for line in printed.splitlines()).strip()
    return re.fullmatch(pattern, found, re.DOTALL) is not None
