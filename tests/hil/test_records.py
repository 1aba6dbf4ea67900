"""Records of boards: what is read, what is refused, and what a board's status rests on."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setun import boards
from setun.firmware.errors import SetunError

HIL = Path(__file__).parents[2] / "hil"
sys.path.insert(0, str(HIL))
import records  # noqa: E402

GOOD: dict[str, Any] = {
    "format": 1,
    "date": "2026-11-29",
    "setun": "0.1.0",
    "commit": "a27d512",
    "board": "ulx3s-85f",
    "model": "shakespeare",
    "system": "Linux",
    "tools": {"yosys": "0.70"},
    "clock_mhz": 56.25,
    "fmax_mhz": 57.5,
    "luts": 29_480,
    "tokens": 1000,
    "golden_match": True,
    "tokens_per_second": 5000.5,
    "cycles_per_token": 4800,
    "watts": None,
    "meter": "",
    "by": "",
    "notes": "",
}


def test_a_record_is_read_as_it_was_written() -> None:
    record = records.parsed(json.dumps(GOOD))
    assert record.ran and records.parsed(record.text()) == record
    assert not records.parsed(json.dumps(GOOD | {"tokens": 999})).ran
    assert not records.parsed(json.dumps(GOOD | {"golden_match": False})).ran


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "format: must be 1; found 2"),
        ({"tokens": -1}, "tokens: must be a whole number"),
        ({"tokens": True}, "tokens: must be a whole number"),
        ({"golden_match": 1}, "golden_match: must be true or false"),
        ({"fmax_mhz": float("inf")}, "fmax_mhz: must be a number above 0"),
        ({"board": "a\nb"}, "board: must be at most 200 printable characters"),
        ({"notes": "x" * 201}, "notes: must be at most 200"),
        ({"tools": {"yosys": 1}}, "tools: must be versions by name"),
        ({"watts": 1.5}, "watts: need the meter's name"),
        ({"meter": "FNB58"}, "watts: need the meter's name"),
        ({"more": 1}, "'more': is no field of a record"),
    ],
)
def test_what_is_no_record_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(SetunError, match=words):
        records.parsed(json.dumps(GOOD | change))


@pytest.mark.parametrize("name", GOOD)
def test_every_field_must_be_there(name: str) -> None:
    lacking = {key: value for key, value in GOOD.items() if key != name}
    with pytest.raises(SetunError, match=name):
        records.parsed(json.dumps(lacking))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(GOOD)), VALUES) | VALUES, st.integers(0, 400))
def test_nothing_else_happens_to_any_text(found: Any, cut: int) -> None:
    whole = json.dumps(GOOD | found if isinstance(found, dict) else found)
    for text in (whole, whole[:cut]):
        try:
            records.parsed(text)
        except SetunError as error:
            assert "\n" not in str(error)


def test_files(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(GOOD | {"watts": 1.5, "meter": "FNB58"}))
    bad.write_bytes(b"\xff" * 10)
    large = tmp_path / "large.json"
    large.write_text(json.dumps(GOOD) + " " * records.MOST_BYTES)
    line = [sys.executable, HIL / "records.py", good, bad, large, tmp_path / "none.json"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 3
    assert "| ulx3s-85f | shakespeare | 2026-11-29 | yes | 1,000 |" in done.stdout
    assert "1.5, FNB58" in done.stdout


def test_boards_that_run_have_records() -> None:
    found = [records.read(file) for file in sorted((HIL / "records").glob("*.json"))]
    ran = {record.board for record in found if record.ran}
    assert {name for name in boards.names() if boards.get(name).status == "runs"} == ran
