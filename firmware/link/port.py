"""Serial ports."""

from typing import Protocol

import serial

from setun.firmware.baud import check_baud
from setun.firmware.errors import SetunError

WRITE_TIMEOUT = 10.0


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
    SetunError
        Impossible baud rate; no such port; port in use or not allowed.
    """
    check_baud(baud)
    try:
        return serial.Serial(name, baud, write_timeout=WRITE_TIMEOUT, exclusive=True)
    except ValueError as error:
        raise SetunError(
            f"port {name}", "a baud rate that the port supports", baud, str(error)
        ) from error
    except OSError as error:
        raise SetunError(
            f"port {name}",
            "a serial port that can be opened",
            error.strerror or str(error),
            "check the cable, the name and the permissions (group dialout)",
        ) from error
