"""`setun boards` and the README tell the same status of every board."""

import json
import re
from pathlib import Path

import pytest

from setun import cli
from setun.cli.boards import STATUS

README = Path(__file__).parents[3] / "README.md"


def test_the_readme_tells_the_status_of_every_board(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["boards", "--json"]) == 0
    told: dict[str, list[str]] = {}
    for board in json.loads(capsys.readouterr().out):
        told.setdefault(STATUS[board["status"]], []).append(board["name"])
    table = README.read_text("utf-8").partition("| status | boards |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", table, re.MULTILINE)[1:])
    written = {k: sorted(v.split(", ")) for k, v in rows.items() if v != "none yet"}
    assert written == {k: sorted(v) for k, v in told.items()}
