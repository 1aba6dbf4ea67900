"""Fixtures shared by every test."""

import os

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--waves FILE.fst`."""
    parser.addoption("--waves", metavar="FILE.fst", help="write waves of the benches that run")


def pytest_configure(config: pytest.Config) -> None:
    """Hand `--waves` to the bench runner."""
    if config.getoption("--waves"):
        os.environ["SETUN_BENCH_WAVES"] = config.getoption("--waves")
