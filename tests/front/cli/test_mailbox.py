"""Commands of a processor beside the chip: what is refused before a mailbox is asked anything."""

import json
import mmap
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from setun.cli import cli, doctor
from setun.firmware.link import mapped
from setun.firmware.link.mailbox import IDENTITY, VERSION

CHOSEN = ("--set", "mailbox=1", "--set", "terminal=0")
MAP = {"board": "kv260", "model": {"first_byte": 0x4000_0000, "bytes": 4096, "most": 8192}}


@pytest.fixture(autouse=True)
def no_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "SYSTEM", tmp_path / "uio")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["run", "shakespeare-small", "--prompt", "A", "--backend", "axi"], "device called setun"),
        (
            ["run", "shakespeare-small", "--prompt", "A", "--backend", "axi", "--port", "/dev/no"],
            "port /dev/no: must be there",
        ),
        (
            ["run", "shakespeare-small", "--prompt", "A", "--backend", "axi", "--baud", "9600"],
            "--baud: needs --backend serial; found axi",
        ),
        (["serve", "shakespeare-small", "--listen", "0", "--backend", "axi"], "called setun"),
        (
            ["serve", "shakespeare-small", "--listen", "0", "--backend", "axi", "--set", "rows=8"],
            "chosen when it was built",
        ),
        (["stream", "--port", "axi:/dev/no", "--prompt", "A"], "port /dev/no: must be there"),
        (["load", "shakespeare-small", "--memory-map", "{map}"], "needs a mailbox"),
        (
            ["load", "shakespeare-small", "--port", "/dev/ttyS0", "--memory-map", "{map}"],
            "--memory-map: needs a mailbox",
        ),
        (
            ["load", "shakespeare-small", "--port", "axi", "--memory-map", "{none}"],
            "must be the map.json of setun generate --recipe; found No such file",
        ),
        (
            ["load", "shakespeare-small", "--port", "axi", "--memory-map", "{bad}"],
            "must be the map.json of setun generate --recipe; found KeyError",
        ),
        (["load", "shakespeare-small", "--port", "axi", "--memory-map", "{map}"], "called setun"),
        (
            ["build", "--board", "ulx3s-85f", "-o", "{none}", *CHOSEN],
            "mailbox: must be 0 on ulx3s-85f, which has no processor",
        ),
    ],
)
def test_refused_in_a_line(args: list[str], told: str, tmp_path: Path) -> None:
    (tmp_path / "map").write_text(json.dumps(MAP))
    (tmp_path / "bad").write_text('{"board": "kv260"}')
    files = {name: str(tmp_path / name) for name in ("map", "bad", "none")}
    result = CliRunner().invoke(cli, [arg.format(**files) for arg in args])
    error = str(result.exception)
    assert result.exit_code != 0 and told in error and "\n" not in error, error


def test_doctor_tells_of_mailboxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.array([IDENTITY, VERSION], "<u4").tobytes()
    good = tmp_path / "good"
    good.write_bytes(words + bytes(mmap.PAGESIZE - len(words)))
    monkeypatch.setattr(doctor, "devices", lambda: [str(good), "/dev/no"])
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    found = [row for row in json.loads(result.stdout)["tools"] if row["name"] == "mailbox"]
    assert [(row["found"], row["where"]) for row in found] == [
        (True, str(good)),
        (False, "/dev/no"),
    ]
    assert found[0]["version"] == str(VERSION) and "device tree" in found[1]["install"]
