"""Fixtures shared by every test."""

import os
from pathlib import Path

import pytest

from bench.folders import ROOT


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--waves FILE.fst`."""
    parser.addoption("--waves", metavar="FILE.fst", help="write waves of the benches that run")


def pytest_configure(config: pytest.Config) -> None:
    """Hand `--waves` to the bench runner."""
    if config.getoption("--waves"):
        os.environ["SETUN_BENCH_WAVES"] = config.getoption("--waves")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder beside the project with reference vectors, checkpoints and text."""
    return ROOT.parent / "shared"
