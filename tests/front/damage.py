"""A line that brings other words than were sent, in frames that are whole."""

import pytest

from setun.firmware.image.memory_layout import Space
from setun.firmware.link import Command, encode_frame


def damage_writes(monkeypatch: pytest.MonkeyPatch, space: Space) -> None:
    """Flip the lowest bit of the last word of each WRITE into `space`."""

    def flipped(kind: int, seq: int, payload: bytes = b"") -> bytes:
        if kind == Command.WRITE and payload[0] == space:
            payload = payload[:-4] + bytes((payload[-4] ^ 1,)) + payload[-3:]
        return encode_frame(kind, seq, payload)

    monkeypatch.setattr("setun.firmware.link.transport.encode_frame", flipped)
