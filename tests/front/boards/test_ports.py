"""Ports: found when there is one, their refusals with a remedy."""

import errno
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import serial
from click.testing import CliRunner
from serial.rfc2217 import PortManager
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from setun.backends.connect import answers
from setun.cli import cli
from setun.firmware.errors import SetunError
from setun.firmware.link.port import PortGone, open_port
from setun.talk.ports import find_port, usual_rates


def usb(device: str, **fields: object) -> ListPortInfo:
    port = ListPortInfo(device)
    port.vid, port.pid, port.description = 0x0403, 0x6015, "ULX3S FPGA 85K"
    for name, value in fields.items():
        setattr(port, name, value)
    return port


def icebreaker(bus: str, serial_number: str, first: int) -> list[ListPortInfo]:
    """The two ports of an FT2232, labelled alike, as Linux has them."""
    return [
        usb(
            f"/dev/ttyUSB{first + k}",
            pid=0x6010,
            description="iCEBreaker V1.0e - iCEBreaker V1.0e",
            serial_number=serial_number,
            location=f"{bus}:1.{k}",
        )
        for k in range(2)
    ]


def there(monkeypatch: pytest.MonkeyPatch, ports: list[ListPortInfo], *answering: str) -> list[str]:
    """Ports on USB, and those of them behind which a chip answers; those that were asked."""
    asked: list[str] = []

    def answer(port: str, rates: list[int]) -> bool:
        asked.append(port)
        return port in answering

    monkeypatch.setattr(list_ports, "comports", lambda: ports)
    monkeypatch.setattr("setun.talk.ports.answers", answer)
    return asked


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


def test_the_uart_of_a_board_with_two_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    one = icebreaker("1-2", "ib1", 0)
    asked = there(monkeypatch, one[::-1])
    assert find_port() == "/dev/ttyUSB1"
    for port in one:
        port.location = None  # a system that does not tell: in the order of names
    assert find_port() == "/dev/ttyUSB1"
    there(monkeypatch, one[:1])  # the other was taken by the programmer
    assert find_port() == "/dev/ttyUSB0" and asked == []


def test_of_several_boards_the_one_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    boards = [*icebreaker("1-2", "ib1", 0), *icebreaker("1-3", "ib1", 2), usb("/dev/ttyUSB4")]
    asked = there(monkeypatch, boards, "/dev/ttyUSB3")
    assert find_port() == "/dev/ttyUSB3"
    assert asked == ["/dev/ttyUSB1", "/dev/ttyUSB3", "/dev/ttyUSB4"]
    there(monkeypatch, boards, "/dev/ttyUSB1", "/dev/ttyUSB3")
    with pytest.raises(SetunError) as refusal:
        find_port()
    assert str(refusal.value) == (
        "serial port: must be named where there are several that answer; found /dev/ttyUSB1 "
        "(iCEBreaker V1.0e - iCEBreaker V1.0e, serial number ib1, at 1-2:1.1), /dev/ttyUSB3 "
        "(iCEBreaker V1.0e - iCEBreaker V1.0e, serial number ib1, at 1-3:1.1) (--port)"
    )
    there(monkeypatch, boards)
    with pytest.raises(SetunError, match=r"/dev/ttyUSB4 .* \(--port, for no chip answers on any\)"):
        find_port()


def test_other_chips_with_several_ports_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = [usb(f"/dev/ttyUSB{k}", pid=0x6011, location=f"1-2:1.{k}") for k in range(4)]
    there(monkeypatch, ports, "/dev/ttyUSB2")
    assert find_port() == "/dev/ttyUSB2"


def test_who_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port at two rates: none answers what is no chip, or is not there."""
    monkeypatch.setattr("setun.backends.connect.PROBE_SECONDS", 0.001)
    assert not answers("loop://", [115_200, 1_000_000])  # echoes
    assert not answers("/nonexistent/port", [115_200])


def test_rates_are_those_of_the_boards() -> None:
    assert set(usual_rates()) >= {1_000_000, 3_000_000}


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EACCES, SetunError, 'udev rule.*: SUBSYSTEM=="tty", TAG\\+="uaccess"'),
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


@pytest.mark.parametrize(
    ("group", "mode", "words"),
    [
        (20, 0o660, "usermod -aG uucp $USER and log in again, or a udev rule"),
        (20, 0o600, "(a udev rule, 70-serial.rules:"),
        (0, 0o660, "(a udev rule, 70-serial.rules:"),
        (None, 0o660, "usermod -aG dialout $USER"),
    ],
)
def test_the_group_of_a_port(
    monkeypatch: pytest.MonkeyPatch, group: int | None, mode: int, words: str
) -> None:
    import grp

    def refuse(*args: object, **options: object) -> None:
        raise serial.SerialException(errno.EACCES, "no")

    def state(path: object) -> SimpleNamespace:
        if group is None:
            raise FileNotFoundError
        return SimpleNamespace(st_gid=group, st_mode=0o020000 | mode)

    monkeypatch.setattr(serial, "Serial", refuse)
    with monkeypatch.context() as patch, pytest.raises(SetunError) as refusal:
        patch.setattr("os.stat", state)
        patch.setattr(grp, "getgrgid", lambda number: SimpleNamespace(gr_name="uucp"))
        open_port("/dev/ttyX", 115_200)
    assert words in str(refusal.value)


@pytest.mark.parametrize("verb", [["stream"], ["load", "shakespeare"], ["run", "shakespeare"]])
@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--baud", "0", "baud rate: between 300 and 12000000; found 0"),
        ("--baud", "-1", "baud rate: between 300 and 12000000; found -1"),
        ("--port", "", '--port: must name a serial port; found ""'),
        ("--port", " ", '--port: must name a serial port; found " "'),
    ],
)
def test_empty_values_are_refused(verb: list[str], option: str, value: str, words: str) -> None:
    result = CliRunner().invoke(cli, [*verb, option, value])
    assert result.exit_code != 0 and words in str(result.exception)


def served(kind: str, handle: Callable[[socket.socket], None]) -> tuple[str, threading.Thread]:
    """Address of a server for one connection, closed once `handle` returns."""
    listening = socket.create_server(("127.0.0.1", 0))
    address = f"{kind}://127.0.0.1:{listening.getsockname()[1]}"

    def serve() -> None:
        with listening, listening.accept()[0] as connection:
            handle(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return address, thread


def echo(connection: socket.socket) -> None:
    while data := connection.recv(100):
        connection.sendall(data)


def echo_rfc2217(connection: socket.socket) -> None:
    """pyserial's own server, before a port that echoes."""
    with serial.serial_for_url("loop://", timeout=0) as behind:
        sender = SimpleNamespace(write=connection.sendall)
        manager = PortManager(behind, sender)
        while data := connection.recv(100):
            behind.write(b"".join(manager.filter(data)))
            if waiting := behind.read(100):
                connection.sendall(b"".join(manager.escape(waiting)))


@pytest.mark.filterwarnings("ignore:set:DeprecationWarning")  # pyserial's
@pytest.mark.parametrize(("kind", "handle"), [("socket", echo), ("rfc2217", echo_rfc2217)])
def test_network_ports(kind: str, handle: Callable[[socket.socket], None]) -> None:
    address, thread = served(kind, handle)
    with open_port(address, 115_200) as port:
        port.timeout = 5
        port.write(b"\x00\xff\r\n")
        assert port.read(4) == b"\x00\xff\r\n"
        port.baudrate = 1_000_000
        port.timeout, began = 0.05, time.monotonic()
        assert port.read(1) == b"" and 0.05 <= time.monotonic() - began < 5
    thread.join()
    with pytest.raises(PortGone, match=r"check address and network"):
        open_port(address, 115_200)


@pytest.mark.parametrize("address", ["nonesuch://host:1", "socket://host", "rfc2217://", "://"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(SetunError, match="an address that answers") as refusal:
        open_port(address, 115_200)
    assert "\n" not in str(refusal.value) and "cable" not in str(refusal.value)
