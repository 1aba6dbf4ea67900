"""The tests' own order: folders as the sources have them, benches named one way."""

from pathlib import Path

from bench.folders import ROOT
from bench.tiers import essential

TESTS = ROOT / "tests"
# Folders of `tests/` that stand for the sources, and where those lie; no folder of the tests may
# be called `setun`, which would hide the package.
MIRRORED = {"firmware": "firmware", "hw": "hw", "sim": "sim", "train": "train", "front": "setun"}
# What has no folder in the sources: whole chips, and whole chips after synthesis.
OWN = {"hw/chip", "hw/fpga/netlist"}


def test_folders_mirror_the_sources() -> None:
    for name, source in MIRRORED.items():
        for test in (TESTS / name).rglob("test_*.py"):
            folder = test.parent.relative_to(TESTS)
            if folder.as_posix() not in OWN:
                assert (ROOT / source / folder.relative_to(name)).is_dir(), test


def test_every_bench_has_its_test() -> None:
    """Coroutines of cocotb stand in `bench_X.py` beside `test_X.py`, shared ones in `bench/`."""
    for path in TESTS.rglob("*.py"):
        if path.parent != TESTS / "bench" and "\n@cocotb.test" in path.read_text("utf-8"):
            assert path.name.startswith("bench_") and runner_of(path).exists(), path


def runner_of(bench: Path) -> Path:
    """The test that runs a bench's coroutines."""
    return bench.with_name(bench.name.replace("bench_", "test_", 1))


def test_essential_tests_are_tests() -> None:
    """Each line of tests/essential.txt is the name of a test, once."""
    lines = essential()
    assert len(set(lines)) == len(lines)
    for line in lines:
        path, _, rest = line.partition("::")
        assert f"def {rest.partition('[')[0]}(" in (TESTS.parent / path).read_text("utf-8"), line
