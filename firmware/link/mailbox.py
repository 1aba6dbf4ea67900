"""The chip's mailbox on AXI4-Lite: its registers, and the port that they are to a client."""

import time
from enum import IntEnum
from typing import Protocol, Self

from setun.firmware.errors import SetunError

IDENTITY = int.from_bytes(b"SETM", "little")
VERSION = 1  # of the register map
DEPTH = 1024  # bytes that wait for the host at most, but for those at hand
MOST = 3
"""Bytes of a word: it holds how many in bits 1:0, then these from bit 8 on."""
MARGIN = 2 * MOST  # bytes on their way that the room does not count yet
PATIENCE_SECONDS = 10.0  # for room
REST_SECONDS = 0.0001  # between looks at a mailbox that had nothing


class Register(IntEnum):
    """Byte offsets."""

    IDENTITY = 0x00
    VERSION = 0x04
    STATUS = 0x08
    WRITE = 0x0C
    READ = 0x10


class Registers(Protocol):
    """Words of a bus, by byte offset; each access is one of the bus, in order.

    Errors: OSError where they are gone.
    """

    def read(self, offset: int, /) -> int: ...

    def write(self, offset: int, value: int, /) -> None: ...

    def close(self) -> None: ...


class MailboxPort:
    """The bytes of a mailbox, as `setun.firmware.link.port.OpenPort` has them.

    Parameters
    ----------
    registers
        Of the mailbox.
    name
        For people.

    Raises
    ------
    SetunError
        Another slave, or another version, is there.
    """

    def __init__(self, registers: Registers, name: str) -> None:
        self._registers = registers
        self.port = name
        self.timeout: float | None = None
        self.baudrate = 0  # it has none
        self._come = bytearray()
        found = registers.read(Register.IDENTITY)
        if found != IDENTITY:
            rule = f"must have a mailbox, identity {IDENTITY:08x}"
            fix = "check the offset; the bitstream must be in the FPGA"
            raise SetunError(f"port {name}", rule, f"{found:08x}", fix)
        if (version := registers.read(Register.VERSION)) != VERSION:
            fix = "use the Setun release that built the bitstream"
            raise SetunError(f"port {name}", f"mailbox of version {VERSION}", version, fix)

    @property
    def in_waiting(self) -> int:
        """Bytes that `read` gives at once."""
        return len(self._come) + (self._registers.read(Register.STATUS) & 0xFFFF)

    def read(self, size: int = 1, /) -> bytes:
        end = None if self.timeout is None else time.monotonic() + self.timeout
        while len(self._come) < size:
            if self._take():
                continue
            if self._come or (end is not None and time.monotonic() >= end):
                break
            time.sleep(REST_SECONDS)
        data = bytes(self._come[:size])
        del self._come[:size]
        return data

    def _take(self) -> bool:
        """Take in a word; false where there was none."""
        word = self._registers.read(Register.READ)
        self._come += (word >> 8).to_bytes(MOST, "little")[: word & 3]
        return word & 3 != 0

    def write(self, data: bytes, /) -> int:
        """All of it; OSError where the chip has no room for long."""
        done, end = 0, time.monotonic() + PATIENCE_SECONDS
        while done < len(data):
            room = (self._registers.read(Register.STATUS) >> 16) - MARGIN
            if room < MOST:
                # What it wants to say may be what it waits for.
                if not self._take():
                    time.sleep(REST_SECONDS)
                if time.monotonic() >= end:
                    raise OSError("the chip takes no bytes")
                continue
            for start in range(done, min(done + room - MOST + 1, len(data)), MOST):
                part = data[start : start + MOST]
                self._registers.write(
                    Register.WRITE, len(part) | int.from_bytes(part, "little") << 8
                )
                done = start + len(part)
        return done

    def close(self) -> None:
        self._registers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
