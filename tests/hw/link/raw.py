"""The far end of the line without the client: frames by hand."""

from typing import Any

from bench import context
from hw.link.line import Line
from setun.firmware.link import Event, Frame, encode_frame
from setun.firmware.link.messages import CONTEXT


async def begin(dut: Any) -> Line:
    dut.rx.value = 1  # before the reset ends: it does not clear the synchroniser
    await context.start(dut)
    given = context.parameters()
    return Line(dut, given["divisor"], given.get("rate", 1.0))


class Raw:
    """Frames by hand: own sequence numbers, one at a time."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.seq = 0

    async def ask(self, kind: int, payload: bytes = b"", seq: int | None = None) -> Frame:
        """Send a frame; its reply. Events before it stay in `line.frames`."""
        if seq is None:
            self.seq = seq = (self.seq + 1) & 0xFF
        self.line.post(encode_frame(kind, seq, payload))
        events = []
        while True:
            frame = await self.line.frame()
            if frame.kind == 0x80 | kind & 0x3F:
                self.line.frames = events + self.line.frames
                assert frame.seq == seq
                return frame
            events.append(frame)

    async def status(self, kind: int, payload: bytes = b"", seq: int | None = None) -> int:
        return (await self.ask(kind, payload, seq)).payload[0]

    async def until_done(self, *contexts: int) -> list[Frame]:
        """TOKEN and DONE events up to the last DONE of these contexts."""
        events, waiting = [], set(contexts)
        while waiting:
            events.append(await self.line.frame())
            assert events[-1].kind & ~CONTEXT in (Event.TOKEN, Event.DONE), events[-1]
            if events[-1].kind & ~CONTEXT == Event.DONE:
                waiting.discard(whose(events[-1]))
        return events


def whose(event: Frame) -> int:
    """Context of a TOKEN or DONE."""
    return event.kind >> 4 & 3
