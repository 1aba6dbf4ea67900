"""A mailbox, and the chip's memory, mapped into a process on the processor beside the chip."""

import contextlib
import errno
import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError
from setun.firmware.link.mailbox import MailboxPort
from setun.firmware.link.port import PortGone

SCHEME = "axi"  # of a port's name: axi:DEVICE or axi:DEVICE@OFFSET; axi alone looks for it
NODE = "setun"  # the device tree's name for it, which a userspace device keeps
SYSTEM = Path("/sys/class/uio")
SPAN = 0x1000  # bytes of the registers' page
RULE = f'SUBSYSTEM=="uio", ATTR{{name}}=="{NODE}", GROUP="dialout", MODE="0660"'
_ABSENT = (errno.ENOENT, errno.ENXIO, errno.ENODEV)


class Mapped:
    """Words of a device's memory, each read or written by one access of the bus.

    Parameters
    ----------
    device
        `/dev/mem`, a userspace device of Linux, or a file.
    offset
        First byte: a physical address of `/dev/mem`; a multiple of the page's size.
    size
        Bytes.

    Raises
    ------
    PortGone
        No such device; it may come with the bitstream.
    SetunError
        It may not be opened, or not be mapped there.
    """

    def __init__(self, device: str, offset: int, size: int) -> None:
        try:
            file = os.open(device, os.O_RDWR | os.O_SYNC)
            try:
                self._map = mmap.mmap(file, size, offset=offset)
            finally:
                os.close(file)
        except OSError as error:
            raise _refusal(device, error) from error
        except (ValueError, OverflowError) as error:
            rule = f"must have {size} bytes from {offset:#x} on"
            raise SetunError(f"{device}@{offset:#x}", rule, error) from error
        self._words = memoryview(self._map).cast("I")

    def read(self, offset: int, /) -> int:
        return self._words[offset // 4]

    def write(self, offset: int, value: int, /) -> None:
        self._words[offset // 4] = value

    def fill(self, first: int, words: NDArray[np.uint32]) -> None:
        """Write 32-bit words from byte `first` on, a multiple of 4."""
        there = np.frombuffer(self._map, np.uint32, len(words), first)
        # A device's memory takes aligned stores only, and copying a whole run may use others.
        there[::2], there[1::2] = words[::2], words[1::2]

    def close(self) -> None:
        self._words.release()
        with contextlib.suppress(BufferError):  # an array of it is still known somewhere
            self._map.close()


def open_mailbox(name: str) -> MailboxPort:
    """The port of a name that begins with `SCHEME`; errors as of `Mapped` and `MailboxPort`."""
    device, offset = place_of(name)
    registers = Mapped(device, offset, SPAN)
    try:
        return MailboxPort(registers, name)
    except BaseException:
        registers.close()
        raise


def is_mailbox(name: str) -> bool:
    """Whether a port's name is that of a mailbox."""
    return name == SCHEME or name.startswith(f"{SCHEME}:")


def place_of(name: str) -> tuple[str, int]:
    """Device and offset that a port's name tells, or those of the one that is found."""
    told = name.partition(":")[2]
    if not told:
        return _found(), 0
    device, _, offset = told.partition("@")
    try:
        first = int(offset or "0", 0)
    except ValueError:
        first = -1
    if not device or first < 0 or first % mmap.ALLOCATIONGRANULARITY:
        rule = f"must be {SCHEME}:DEVICE or {SCHEME}:DEVICE@OFFSET, a page's first byte"
        raise SetunError(f"port {name}", rule, told, f"{SCHEME}:/dev/mem@0xa0000000")
    return device, first


def open_memory(port: str, first: int, size: int) -> Mapped:
    """The memory that the chip of mailbox `port` reads, `size` bytes from address `first` on.

    Of a userspace device it is a further map, which must begin there; else that of `/dev/mem`.

    Raises
    ------
    SetunError
        As of `Mapped`; the device has no such map.
    """
    device, _ = place_of(port)
    maps = SYSTEM / Path(device).name / "maps"
    if not maps.is_dir():
        return Mapped(device, first, size)
    for number, known in enumerate(sorted(maps.iterdir())):
        begins, bytes_ = (int((known / name).read_text(), 0) for name in ("addr", "size"))
        if number and begins == first and size <= bytes_:
            return Mapped(device, number * mmap.PAGESIZE, size)
    rule = f"must have a map of {size} bytes from {first:#x} on"
    fix = "setun.dtsi of the recipe has it"
    raise SetunError(device, rule, "none", fix)


def devices() -> list[str]:
    """Userspace devices that are called `NODE`."""
    names = sorted(SYSTEM.glob("*/name"))
    return [f"/dev/{file.parent.name}" for file in names if file.read_text().strip() == NODE]


def _found() -> str:
    """The one of `devices`."""
    known = devices()
    if len(known) == 1:
        return known[0]
    if known:
        fix = f"--port {SCHEME}:{known[0]}"
        raise SetunError("mailbox", "must be named where there are several", ", ".join(known), fix)
    rule = f"needs a userspace device called {NODE}, or must be named"
    fix = f"load the bitstream and its device tree, or --port {SCHEME}:/dev/mem@ADDRESS"
    raise PortGone("mailbox", rule, "none", fix)


def _refusal(device: str, error: OSError) -> SetunError:
    why = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _ABSENT:
        fix = "load the bitstream and its device tree"
        return PortGone(f"port {device}", "must be there", why, fix)
    fix = "check the address"
    if error.errno in (errno.EACCES, errno.EPERM):
        fix = f"a udev rule, 70-setun.rules: {RULE}"
        if Path(device).name == "mem":
            fix = "sudo, or a userspace device, which a udev rule opens to a group"
    return SetunError(f"port {device}", "a device that can be mapped", why, fix)
