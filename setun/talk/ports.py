"""The serial port and bit rate of a board that nobody named."""

from serial.tools import list_ports

from setun import boards
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.link.port import PortGone


def find_port() -> str:
    """The one USB serial port there is.

    Raises
    ------
    PortGone
        There is none: a cable may still be plugged in.
    SetunError
        There are several; lists them.
    """
    found = sorted((p for p in list_ports.comports() if p.vid is not None), key=lambda p: p.device)
    if not found:
        raise PortGone(
            "serial port", "must be on USB or named", "none", "plug the board in, or give --port"
        )
    if len(found) > 1:
        listed = ", ".join(f"{p.device} ({p.description})" for p in found)
        raise SetunError("serial port", "must be named where there are several", listed, "--port")
    return str(found[0].device)


def usual_rates() -> list[int]:
    """Bit rates that chips are built with unless another is asked for."""
    return sorted({ChipConfig().baud, *(boards.get(name).baud for name in boards.names())})
