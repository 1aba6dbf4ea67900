"""Results by content: found again whole, or not at all."""

import json
from pathlib import Path

import pytest

from setun.explore import work as module
from setun.explore.evaluation import Done
from setun.explore.results import Results
from setun.explore.work import Work, made_with, sources, tools

WORK = Work("estimate", {"config": {"rows": 4, "vector": [6, 9]}, "made_with": {"sources": "a"}})
FOUND = {"fmax_mhz": 51.25, "utilisation": {"luts": [1, 2]}}


def test_what_was_put_is_found_by_another_run(tmp_path: Path) -> None:
    assert Results(tmp_path).get(WORK) is None
    assert Results(tmp_path).put(WORK, Done(FOUND, 2.5)) == FOUND
    later = Results(tmp_path)
    assert later.get(WORK) == FOUND and later.damaged == []
    (path,) = (tmp_path / "points").iterdir()
    assert path == later.path(WORK) and json.loads(path.read_text())["seconds"] == 2.5
    other = Work("estimate", {**WORK.inputs, "made_with": {"sources": "b"}})
    assert later.get(other) is None and later.path(other) != path
    assert later.path(Work("place", WORK.inputs)) != path


def test_what_may_end_otherwise_is_not_kept(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.put(WORK, Done({"failed": "killed"}, 1.0, final=False))
    assert results.get(WORK) == {"failed": "killed"}
    assert Results(tmp_path).get(WORK) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"[]",
        lambda data: b"\xff" + data,
        lambda data: data.replace(b"51.25", b"61.25"),
        lambda data: data.replace(b'"rows": 4', b'"rows": 8'),
        lambda data: data.replace(b'"result"', b'"other"'),
    ],
)
def test_a_damaged_file_is_no_result(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    results = Results(tmp_path)
    results.put(WORK, Done(FOUND, 0.0))
    path = results.path(WORK)
    data = path.read_bytes()
    assert damage(data) != data
    path.write_bytes(damage(data))
    later = Results(tmp_path)
    assert later.get(WORK) is None and later.damaged == [path]
    later.put(WORK, Done(FOUND, 0.0))
    assert path.read_bytes() == data


def test_sources_are_those_of_the_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed file makes other keys; numbers of the estimator do not touch placements."""
    assert len({sources(kind) for kind in module.PACKAGES}) == len(module.PACKAGES)
    package = tmp_path / "some"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "data.json").write_text("1")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(module.PACKAGES, "loss", ("some",))
    sources.cache_clear()
    before = sources("loss")
    (package / "notes.txt").write_text("no source")
    sources.cache_clear()
    assert sources("loss") == before
    (package / "data.json").write_text("2")
    sources.cache_clear()
    assert sources("loss") != before
    monkeypatch.undo()
    sources.cache_clear()


def test_placements_depend_on_the_tools() -> None:
    made = made_with("place", "ice40")
    assert {"amaranth", "yosys", "nextpnr-ice40", "icepack"} <= made["tools"].keys()
    assert tools("place", "ecp5").keys() != made["tools"].keys()
    assert tools("estimate", "ecp5") == {}
