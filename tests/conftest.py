"""Options of every test run."""

import os
from collections.abc import Iterator

import pytest

from bench.tiers import essential

LEVEL = "SETUN_SIMULATOR_LEVEL"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what tests/essential.txt names, before tests are chosen by their marks."""
    named = set(essential())
    for item in items:
        if not named.isdisjoint((item.nodeid, item.nodeid.partition("[")[0])):
            item.add_marker(pytest.mark.essential)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--waves FILE.fst`."""
    parser.addoption("--waves", metavar="FILE.fst", help="write waves of the benches that run")


def pytest_configure(config: pytest.Config) -> None:
    """Hand `--waves` to the bench runner."""
    if config.getoption("--waves"):
        os.environ["SETUN_BENCH_WAVES"] = config.getoption("--waves")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Most chips take longer to compile than to run: compile them fast, unless told otherwise."""
    given = os.environ.get(LEVEL)
    long = any(item.get_closest_marker(name) for name in ("slow", "many_cycles"))
    os.environ.setdefault(LEVEL, "1" if long else "0")
    try:
        return (yield)
    finally:
        if given is None:
            del os.environ[LEVEL]
