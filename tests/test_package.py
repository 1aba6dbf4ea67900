"""What the wheel must hold: every package, the demo model, one-way dependencies."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import setun
from bench.folders import ROOT

FOLDERS = {"setun": "setun"} | {
    name: f"setun.{name}" for name in ("hw", "sim", "firmware", "constraints", "train")
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def sources() -> list[tuple[str, Path]]:
    """(package, file) of every module."""
    found = []
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            inner = path.parent.relative_to(ROOT / folder).parts
            found.append((".".join([package, *inner]), path))
    return found


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == "setun"}


def test_every_package_is_declared_and_no_other():
    assert {package for package, _ in sources()} == set(PROJECT["tool"]["setuptools"]["packages"])


def test_version_is_one():
    assert PROJECT["project"]["version"] == setun.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "[Unreleased]" in changelog or f"[{setun.__version__}]" in changelog


def test_dependencies_point_one_way():
    shared = "setun.drawing", "setun.programs", "setun.streams"
    allowed = {
        "setun.firmware": ("setun.firmware",),
        "setun.hw": ("setun.firmware", "setun.hw", *shared),
        "setun.sim": ("setun.firmware", "setun.sim", "setun.hw", *shared),
    } | {
        "setun.drawing": ("setun.firmware.errors", "setun.firmware.outputs"),
        "setun.programs": ("setun.firmware.errors", "setun.streams"),
        "setun.streams": (),
    }
    wrong = []
    for package, path in sources():
        layer = ".".join(package.split(".")[:2])
        if f"{package}.{path.stem}" in shared:
            layer = f"{package}.{path.stem}"
        for name in imports(path):
            inside = any(name == a or name.startswith(f"{a}.") for a in allowed.get(layer, ()))
            if layer in allowed and name != "setun" and not inside:
                wrong.append(f"{path.relative_to(ROOT)}: {name}")
            if name.startswith("setun.cli") and layer != "setun.cli" and path.name != "__main__.py":
                wrong.append(f"{path.relative_to(ROOT)}: {name}")
    assert wrong == []


def test_files_are_short_and_lines_plain():
    long = [path.name for _, path in sources() if len(path.read_text("utf-8").splitlines()) > 400]
    assert long == []


def test_nothing_is_left_for_later():
    word = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    found = [path.name for _, path in sources() if word.search(path.read_text("utf-8"))]
    assert found == []


def test_nothing_beside_the_project_is_read():
    """A clone with nothing around it has all that tests, programs and checks need."""
    outside = re.compile(r"\.\./shared|ROOT\.parent|/work/|[\"'/]shared/|\bshared/\w+|/ \"shared\"")
    kinds = {".py", ".md", ".toml", ".yml", ".json", ""}
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = [ROOT / name for name in listed.stdout.splitlines()]
    read = [path for path in paths if path.suffix in kinds and path.is_file()]
    found = [path for path in read if outside.search(path.read_text("utf-8"))]
    found.remove(Path(__file__))  # for the pattern itself
    assert found == []


@pytest.mark.slow
def test_wheel_holds_code_and_data(tmp_path: Path):
    tree = tmp_path / "tree"
    tree.mkdir()
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tree / folder)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tree)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(tree)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("setun-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for package, source in sources():
        assert f"{package.replace('.', '/')}/{source.name}" in names
    for file in ("config.json", "model.safetensors", "tokenizer.json", "README.md"):
        assert f"setun/models/shakespeare/{file}" in names
    assert "setun/boards/ulx3s-85f.toml" in names
    assert not any(name.startswith(("tests/", "docs/")) for name in names)
