"""Serial ports."""

import errno
import os
from typing import Protocol

import serial

from setun.firmware.errors import SetunError
from setun.firmware.link.baud import check_baud

WRITE_TIMEOUT = 10.0


class PortGone(SetunError):
    """The port was there and is not any more: unplugged, or the other side ended."""


class Port(Protocol):
    """What the client needs of a port; `serial.Serial` has it.

    `read` returns at least one byte, or none once `timeout` seconds have passed.
    """

    timeout: float | None

    def read(self, size: int = 1, /) -> bytes: ...

    def write(self, b: bytes, /) -> int | None: ...


def open_port(name: str, baud: int) -> serial.Serial:
    """Open a serial port for the client: raw, 8N1, exclusive.

    Raises
    ------
    PortGone
        No such port: it may appear when a cable is plugged in.
    SetunError
        Impossible baud rate; port in use, not allowed or no serial port.
    """
    check_baud(baud)
    try:
        return serial.Serial(name, baud, write_timeout=WRITE_TIMEOUT, exclusive=True)
    except ValueError as error:
        raise SetunError(
            f"port {name}", "a baud rate that the port supports", baud, str(error)
        ) from error
    except OSError as error:
        kind = PortGone if error.errno in _ABSENT else SetunError
        raise kind(
            f"port {name}", "a serial port that can be opened", _reason(error), _remedy(name, error)
        ) from error


_ABSENT = (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO)


def _reason(error: OSError) -> str:
    """What the system says, without the words that pyserial puts around it."""
    return os.strerror(error.errno) if error.errno else str(error)


def _remedy(name: str, error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"sudo usermod -aG {_group(name)} $USER and log in again, "
            'or a udev rule with TAG+="uaccess"'
        )
    if error.errno in (errno.EAGAIN, errno.EBUSY):
        return "another program has it open: end that first"
    return "check the cable and the name"


def _group(name: str) -> str:
    """Group that may use the device; dialout where that cannot be told."""
    try:
        import grp

        return grp.getgrgid(os.stat(name).st_gid).gr_name
    except (ImportError, OSError, KeyError):
        return "dialout"
