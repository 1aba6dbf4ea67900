"""A new user's first minutes: a wheel in a fresh environment, nothing else there."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from docs.runners import INSTALL, runner
from test_package import PROJECT

from docs import pages

ROOT = Path(__file__).parents[1]
FOLDERS = ("setun", "hw", "sim", "firmware")
WHEEL_MB = 10
INSTALL_SECONDS = 300


def typed() -> list[str]:
    """What the docs say to type before there is a `setun`, each line once."""
    found = [c for page in pages.pages() for c in pages.blocks(page) if runner(c) == INSTALL]
    return list(dict.fromkeys(c.text.partition("  #")[0] for c in found))


def test_extras_of_the_docs_are_there() -> None:
    for line in typed():
        for extra in line.partition("[")[2].partition("]")[0].split(","):
            assert not extra or extra in PROJECT["project"]["optional-dependencies"], line


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this tree."""
    tree = tmp_path_factory.mktemp("wheel") / "tree"
    tree.mkdir()
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tree / folder)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tree)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tree.parent), str(tree)]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = tree.parent.glob("setun-*.whl")
    return found


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("line", [line for line in typed() if line.startswith("pip")])
def test_installed_as_the_docs_say(line: str, wheel: Path, tmp_path: Path) -> None:
    """The wheel is small, in a fresh environment in minutes, and runs from any folder."""
    assert wheel.stat().st_size <= WHEEL_MB * 1e6
    (venv,) = [line for line in typed() if "venv" in line]
    install = line.replace("'setun[", f"'{wheel}[")
    clean = {"PATH": f"{Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path),
             **{k: v for k, v in os.environ.items() if k.startswith("PIP_")}}  # fmt: skip
    started = time.monotonic()
    subprocess.run(
        ["bash", "-c", f"set -e; {venv}; {install} --quiet"], cwd=tmp_path, env=clean, check=True
    )
    seconds = time.monotonic() - started
    print(f"{line}: {wheel.stat().st_size / 1e6:.2f} MB, {seconds:.0f} s")
    assert seconds < INSTALL_SECONDS
    # Nothing on PATH, no home, no cache, no terminal.
    bare = {"PATH": "/nonexistent", "HOME": "/nonexistent", "XDG_CACHE_HOME": "/dev/null/x"}
    for words in (["--version"], ["boards"], ["doctor"], ["run", "shakespeare", "--prompt", "A"]):
        done = subprocess.run(
            [tmp_path / "venv/bin/setun", *words], cwd="/", env=bare, capture_output=True, text=True
        )
        assert done.returncode == 0 and not done.stderr.count("Traceback"), (words, done.stderr)
