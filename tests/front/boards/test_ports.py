"""Ports: found when there is one, their refusals with a remedy."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import serial
from serial.tools import list_ports

from setun.firmware.errors import SetunError
from setun.firmware.link.port import PortGone, open_port
from setun.talk.ports import find_port, usual_rates


def on_usb(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    built_in = SimpleNamespace(device="/dev/ttyS0", vid=None, description="n/a")
    usb = [SimpleNamespace(device=n, vid=0x0403, description="ULX3S FPGA 85K") for n in names]
    monkeypatch.setattr(list_ports, "comports", lambda: [built_in, *usb])


def test_the_only_usb_port_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    on_usb(monkeypatch, "/dev/ttyUSB3")
    assert find_port() == "/dev/ttyUSB3"
    on_usb(monkeypatch)
    with pytest.raises(PortGone, match="plug the board in, or give --port"):
        find_port()
    on_usb(monkeypatch, "/dev/ttyUSB1", "/dev/ttyUSB0")
    with pytest.raises(SetunError) as refusal:
        find_port()
    assert "/dev/ttyUSB0 (ULX3S FPGA 85K), /dev/ttyUSB1 (ULX3S FPGA 85K)" in str(refusal.value)
    assert not isinstance(refusal.value, PortGone)


def test_rates_are_those_of_the_boards() -> None:
    assert set(usual_rates()) >= {1_000_000, 3_000_000}


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EACCES, SetunError, 'usermod -aG .* \\$USER .* udev rule with TAG\\+="uaccess"'),
        (errno.EBUSY, SetunError, "another program has it open"),
        (errno.ENOENT, PortGone, "check the cable and the name"),
        (errno.EIO, PortGone, "check the cable"),
    ],
)
def test_a_port_that_cannot_be_opened_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int, kind: type, words: str
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise serial.SerialException(number, f"could not open port: {os.strerror(number)}")

    monkeypatch.setattr(serial, "Serial", refuse)
    with pytest.raises(SetunError, match=words) as refusal:
        open_port(str(tmp_path), 115_200)
    assert type(refusal.value) is kind
    assert os.strerror(number) in str(refusal.value) and "\n" not in str(refusal.value)
