"""Frames on the wire: COBS between 0x00 delimiters, CRC-32 inside.

A frame is ``type u8, seq u8, payload, crc u32`` (little endian, zlib.crc32 over what precedes
it), encoded by consistent overhead byte stuffing (Cheshire and Baker, 1999) so that 0x00 occurs
only as the delimiter that ends it.
"""

import struct
import zlib
from collections import Counter
from dataclasses import dataclass

from setun.firmware.errors import SetunError
from setun.firmware.link.messages import MAX_PAYLOAD, ErrorCode

OVERHEAD = 6
MAX_FRAME = MAX_PAYLOAD + OVERHEAD
MAX_WIRE = MAX_FRAME + 1


@dataclass(frozen=True)
class Frame:
    """One good frame: type (0–255), sequence number (0–255), payload (≤ 240 bytes)."""

    kind: int
    seq: int
    payload: bytes = b""


class FrameError(ValueError):
    """Damage in a received frame; `code` says which."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


def cobs_encode(data: bytes) -> bytes:
    """Bytes without 0x00 that stand for `data`; no delimiter. Costs 1 byte per 254 begun."""
    out = bytearray()
    for run in data.split(b"\0"):
        while len(run) >= 254:
            out += b"\xff" + run[:254]
            run = run[254:]
        out.append(len(run) + 1)
        out += run
    return bytes(out)


def cobs_decode(data: bytes) -> bytes:
    """Inverse of `cobs_encode`, delimiter already removed.

    Raises
    ------
    FrameError
        BAD_COBS when a run is cut short or 0x00 occurs inside.
    """
    if b"\0" in data:
        raise FrameError(ErrorCode.BAD_COBS)
    out = bytearray()
    position = 0
    while position < len(data):
        code = data[position]
        run = data[position + 1 : position + code]
        if len(run) != code - 1:
            raise FrameError(ErrorCode.BAD_COBS)
        out += run
        position += code
        if code != 0xFF and position < len(data):
            out.append(0)
    return bytes(out)


def encode_frame(kind: int, seq: int, payload: bytes = b"") -> bytes:
    """Bytes on the wire of one frame, closing delimiter included (≤ 248).

    Raises
    ------
    SetunError
        Payload longer than 240 bytes, or type or sequence number outside a byte.
    """
    if len(payload) > MAX_PAYLOAD:
        raise SetunError("frame", f"payload of at most {MAX_PAYLOAD} bytes", len(payload))
    if not (0 <= kind <= 0xFF and 0 <= seq <= 0xFF):
        raise SetunError("frame", "type and sequence number are bytes", f"{kind}, {seq}")
    body = bytes((kind, seq)) + payload
    return cobs_encode(body + struct.pack("<I", zlib.crc32(body))) + b"\0"


def decode_frame(wire: bytes) -> Frame:
    """Frame from the bytes between two delimiters.

    Raises
    ------
    FrameError
        BAD_COBS, OVERLONG, TOO_SHORT or BAD_CRC.
    """
    data = cobs_decode(wire)
    if len(data) > MAX_FRAME:
        raise FrameError(ErrorCode.OVERLONG)
    if len(data) < OVERHEAD:
        raise FrameError(ErrorCode.TOO_SHORT)
    body = data[:-4]
    if zlib.crc32(body) != int.from_bytes(data[-4:], "little"):
        raise FrameError(ErrorCode.BAD_CRC)
    return Frame(body[0], body[1], body[2:])


class FrameReader:
    """Frames out of a byte stream that may hold garbage; memory stays bounded.

    Attributes
    ----------
    refused
        Damaged frames so far, by ErrorCode. Empty frames are idle line, not damage.
    """

    def __init__(self) -> None:
        self.refused: Counter[ErrorCode] = Counter()
        self._buffer = bytearray()
        self._overlong = False

    def feed(self, data: bytes) -> list[Frame]:
        """Take received bytes; return the good frames that they complete, in order."""
        *complete, rest = data.split(b"\0")
        frames = []
        for part in complete:
            frame = self._close(part)
            if frame is not None:
                frames.append(frame)
        self._keep(rest)
        return frames

    def _keep(self, part: bytes) -> None:
        if len(self._buffer) + len(part) > MAX_WIRE:
            self._overlong = True
            self._buffer.clear()
        if not self._overlong:
            self._buffer += part

    def _close(self, part: bytes) -> Frame | None:
        self._keep(part)
        wire = bytes(self._buffer)
        overlong = self._overlong
        self._buffer.clear()
        self._overlong = False
        if overlong:
            self.refused[ErrorCode.OVERLONG] += 1
            return None
        if not wire:
            return None
        try:
            return decode_frame(wire)
        except FrameError as error:
            self.refused[error.code] += 1
            return None
