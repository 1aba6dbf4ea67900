"""Numbers and limits of the link protocol (docs/link.md), shared by host and gateware."""

import struct
from dataclasses import dataclass
from enum import IntEnum

REPLY = 0x80
"""Set in the type of a reply: request type | REPLY."""

CONTEXT = 0x30
"""Bits of a type that name a context."""

MAX_PAYLOAD = 240
"""Payload bytes of the longest frame."""

MAX_WORDS = 32
"""32-bit words in one WRITE or READ."""

MAX_CRC_WORDS = 0xFFFF
"""32-bit words in one CRC, so that no command keeps the chip from listening for long."""

MAX_INFO = 200
"""Bytes of the INFO reply."""

TOKEN_BYTES = {16: 2, 18: 4}
"""Bytes of a token in a frame, by the bits that it has on the chip."""


def prompt_tokens(size: int) -> int:
    """Tokens of `size` bytes in one PROMPT."""
    return min(64, MAX_PAYLOAD // size)


SPACES = 8
"""Memory spaces that WRITE, READ and CRC can name: 0 … SPACES − 1."""


class Command(IntEnum):
    """Type of a frame from host to chip."""

    INFO = 0x01
    WRITE = 0x02
    READ = 0x03
    CRC = 0x04
    RESET = 0x05
    PROMPT = 0x06
    GENERATE = 0x07
    STOP = 0x08
    COUNTERS = 0x09


OF_CONTEXT = (Command.RESET, Command.PROMPT, Command.GENERATE, Command.STOP)
"""Commands that name a context, in bits 5:4 of their type; so do TOKEN and DONE."""

MAX_CONTEXTS = 4


class Event(IntEnum):
    """Type of a frame that the chip sends unasked."""

    TOKEN = 0xC0
    DONE = 0xC1
    ERROR = 0xFF


class Status(IntEnum):
    """First payload byte of a reply."""

    OK = 0
    BUSY = 1
    BAD_ARGUMENT = 2
    UNKNOWN_COMMAND = 3


class ErrorCode(IntEnum):
    """Why a frame was refused: payload of an ERROR event."""

    BAD_CRC = 1
    BAD_COBS = 2
    OVERLONG = 3
    TOO_SHORT = 4
    UART = 5
    NO_ROOM = 6


class Reason(IntEnum):
    """Why a generation ended."""

    COUNT = 0
    """All tokens asked for were sampled."""
    STOPPED = 1
    """Somebody asked for it."""
    NO_PROMPT = 2
    """Nothing had been fed."""
    FAULT = 3
    """The program has an unknown operation: memory is blank or damaged."""
    WATCHDOG = 4
    """A pass over the program did not end."""
    END_OF_TEXT = 5
    """The token sampled last ends the text."""
    CONTEXT_FULL = 6
    """The conversation has as many tokens as the model has positions."""


@dataclass(frozen=True)
class Done:
    """End of a generation: reason, tokens sampled, clock cycles spent (mod 2³²)."""

    reason: int
    tokens: int
    cycles: int

    @property
    def why(self) -> str:
        """The reason by number and name."""
        known = self.reason in list(Reason)
        name = Reason(self.reason).name.lower().replace("_", " ") if known else "unknown"
        return f"reason {self.reason} ({name})"

    @classmethod
    def unpack(cls, payload: bytes) -> "Done | None":
        """Payload of a DONE event (reason u8, tokens u16, cycles u32), None when misshaped."""
        if len(payload) != 7:
            return None
        return cls(*struct.unpack("<BHI", payload))
