"""Serial ports."""

import errno
import os
import stat
import time
from types import TracebackType
from typing import Protocol, Self

import serial

from setun.firmware.errors import SetunError
from setun.firmware.link.baud import check_baud

WRITE_TIMEOUT = 10.0
_GROUP_USES = stat.S_IRGRP | stat.S_IWGRP


class PortGone(SetunError):
    """The port was there and is not any more: unplugged, or the other side ended."""


class Port(Protocol):
    """What the client needs of a port; `serial.Serial` has it.

    `read` returns at least one byte, or none once `timeout` seconds have passed.
    """

    timeout: float | None

    def read(self, size: int = 1, /) -> bytes: ...

    def write(self, b: bytes, /) -> int | None: ...


class OpenPort(Port, Protocol):
    """What `open_port` gives; it closes as a context manager too."""

    baudrate: int

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


def open_port(name: str, baud: int) -> OpenPort:
    """Open a serial port for the client: raw, 8N1, exclusive; or a chip's mailbox.

    `name` is a device or one of pyserial's URLs, `rfc2217://HOST:PORT` or `socket://HOST:PORT`, or
    the `axi:DEVICE` of `setun.firmware.link.mapped`.

    Raises
    ------
    PortGone
        No such port, or nobody at that address: it may appear when a cable is plugged in.
    SetunError
        Impossible baud rate; port in use, not allowed or no serial port.
    """
    from setun.firmware.link import mapped  # which knows the errors of ports

    if mapped.is_mailbox(name):
        return mapped.open_mailbox(name)
    check_baud(baud)
    network = "://" in name
    try:
        if network:
            return _NetworkPort(serial.serial_for_url(name, baud, timeout=_SLICE))
        return serial.Serial(name, baud, write_timeout=WRITE_TIMEOUT, exclusive=True)
    except ValueError as error:
        if network:
            raise SetunError(f"port {name}", _URL, error) from error
        raise SetunError(
            f"port {name}", "a baud rate that the port supports", baud, str(error)
        ) from error
    except OSError as error:
        if network:
            raise PortGone(f"port {name}", _URL, error, "check address and network") from error
        kind = PortGone if error.errno in _ABSENT else SetunError
        raise kind(
            f"port {name}", "a serial port that can be opened", _reason(error), _remedy(name, error)
        ) from error


class _NetworkPort:
    """A port of pyserial's that may be far away.

    Its `timeout` is kept here: rfc2217 asks the other side to agree to each change of it.
    """

    def __init__(self, inner: serial.Serial) -> None:
        self._inner = inner
        self.port = inner.port
        self.timeout: float | None = None

    @property
    def baudrate(self) -> int:
        return int(self._inner.baudrate)

    @baudrate.setter
    def baudrate(self, rate: int) -> None:
        self._inner.baudrate = rate

    @property
    def in_waiting(self) -> int:
        return int(self._inner.in_waiting)

    def read(self, size: int = 1, /) -> bytes:
        end = None if self.timeout is None else time.monotonic() + self.timeout
        while True:
            data: bytes = self._inner.read(size)
            if data or (end is not None and time.monotonic() >= end):
                return data

    def write(self, b: bytes, /) -> int | None:
        taken: int | None = self._inner.write(b)
        return taken

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self.close()


_SLICE = 0.02  # seconds that a network's port may overstay a timeout
_URL = "an address that answers, of the kinds that pyserial opens"
_ABSENT = (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO)


def _reason(error: OSError) -> str:
    """What the system says, without the words that pyserial puts around it."""
    return os.strerror(error.errno) if error.errno else str(error)


def _remedy(name: str, error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        rule = 'a udev rule, 70-serial.rules: SUBSYSTEM=="tty", TAG+="uaccess"; plug in again'
        group = _group(name)
        return f"sudo usermod -aG {group} $USER and log in again, or {rule}" if group else rule
    if error.errno in (errno.EAGAIN, errno.EBUSY):
        return "another program has it open: end that first"
    return "check the cable and the name"


def _group(name: str) -> str:
    """Group that may use the device, "" if none or root's; dialout where that cannot be told."""
    try:
        import grp

        found = os.stat(name)
        if found.st_gid == 0 or found.st_mode & _GROUP_USES != _GROUP_USES:
            return ""
        return grp.getgrgid(found.st_gid).gr_name
    except (ImportError, OSError, KeyError):
        return "dialout"
