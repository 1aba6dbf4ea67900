"""The serial port and bit rate of a board that nobody named."""

import re
from collections.abc import Iterable
from typing import Any

from serial.tools import list_ports

from setun import boards
from setun.backends.connect import answers
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.link.mapped import SCHEME, is_mailbox
from setun.firmware.link.port import PortGone

# USB chips with several interfaces, and the one that is a serial port; the others program.
_UART_OF = {(0x0403, 0x6010): 1}  # FT2232, as on the iCEBreaker


def find_port(baud: int | None = None) -> str:
    """The USB serial port with a board's UART; where several may be, the one where a chip answers.

    Raises
    ------
    PortGone
        There is none: a cable may still be plugged in.
    SetunError
        There are several, and not just one chip answers at `baud`, or at the usual rates; lists
        them.
    """
    found = sorted((p for p in list_ports.comports() if p.vid is not None), key=lambda p: p.device)
    if not found:
        raise PortGone(
            "serial port", "must be on USB or named", "none", "plug the board in, or give --port"
        )
    ports = _uarts(found)
    if len(ports) > 1:
        rates = [baud] if baud else usual_rates()
        asked = [port for port in ports if answers(port.device, rates)]
        if len(asked) != 1:
            which = "there are several that answer" if asked else "there are several"
            listed = ", ".join(_label(port) for port in asked or ports)
            none = "" if asked else ", for no chip answers on any"
            raise SetunError("serial port", f"must be named where {which}", listed, f"--port{none}")
        ports = asked
    return str(ports[0].device)


def named_port(backend: str, port: str | None, baud: int | None) -> str | None:
    """The port of a backend as `open_port` names it, where `--port` or the backend says so.

    Raises
    ------
    SetunError
        The backend has no port, or no bit rate.
    """
    if backend == "axi":
        if baud is not None:
            raise SetunError("--baud", "needs --backend serial", backend)
        return f"{SCHEME}:{port}" if port and not is_mailbox(port) else port or SCHEME
    if backend != "serial" and (port, baud) != (None, None):
        raise SetunError("--port and --baud", "need --backend serial", backend)
    return port


def usual_rates() -> list[int]:
    """Bit rates that chips are built with unless another is asked for."""
    return sorted({ChipConfig().baud, *(boards.get(name).baud for name in boards.names())})


def _uarts(ports: Iterable[Any]) -> list[Any]:
    """The ports without those of a board whose other port is the UART."""
    devices: dict[tuple[Any, ...], list[Any]] = {}
    for port in ports:
        place = (_of(port, "location") or "").partition(":")[0]
        key = port.vid, _of(port, "pid"), _of(port, "serial_number"), place
        devices.setdefault(key, []).append(port)
    kept = []
    for (vid, pid, *_), members in devices.items():
        uart = _UART_OF.get((vid, pid))
        chosen = [port for k, port in enumerate(members) if _interface(port, k) == uart]
        kept += chosen if len(members) > 1 and len(chosen) == 1 else members
    return kept


def _interface(port: Any, number: int) -> int:
    """Of the USB device: from "1-2:1.1", else the port's `number` in the order of names."""
    found = re.search(r":.*[.](\d+)$", _of(port, "location") or "")
    return int(found[1]) if found else number


def _label(port: Any) -> str:
    told = [port.description]
    if serial_number := _of(port, "serial_number"):
        told.append(f"serial number {serial_number}")
    if place := _of(port, "location"):
        told.append(f"at {place}")
    return f"{port.device} ({', '.join(told)})"


def _of(port: Any, name: str) -> Any:
    """What pyserial knows of a port, which depends on the system."""
    return getattr(port, name, None)
