"""Host side of the serial link: frames, messages and the client."""

from setun.firmware.link.client import ChipClient
from setun.firmware.link.frames import Frame, FrameReader, encode_frame
from setun.firmware.link.messages import Command, Done, ErrorCode, Event, Reason, Status
from setun.firmware.link.port import open_port

__all__ = [
    "ChipClient",
    "Command",
    "Done",
    "ErrorCode",
    "Event",
    "Frame",
    "FrameReader",
    "Reason",
    "Status",
    "encode_frame",
    "open_port",
]
