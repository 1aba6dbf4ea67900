"""Requests and replies over a port: numbering, resending, demultiplexing of events."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from setun.firmware.errors import SetunError
from setun.firmware.link.frames import Frame, FrameReader, encode_frame
from setun.firmware.link.messages import CONTEXT, MAX_CONTEXTS, REPLY, Command, Event
from setun.firmware.link.port import Port, PortGone

EARLY_READS = 20
"""Empty reads in a row, each ahead of its timeout, that mean a closed port."""

FRAMES_HELD = 7
"""The longest frames that the chip's frame memory holds while a command keeps it from them."""

RUN = 4
"""Requests sent together in a wide window: one delimiter leads them all."""


@dataclass
class _Pending:
    index: int
    kind: int
    seq: int
    wire: bytes
    tries: int = 0
    since: float = 0.0


class Transport:
    """Numbered exchange with the chip over a byte port. One thread at a time.

    Parameters
    ----------
    port
        Open port; its `timeout` is set by this class.
    timeout
        Seconds without the awaited reply until the request is sent again.
    retries
        How often a request is sent again before giving up.

    Attributes
    ----------
    events
        TOKEN and DONE frames received and not yet taken, oldest first, of each context.
    resent
        Requests sent again so far.
    refusals
        ERROR events received so far: frames that the chip refused.
    reader
        Its `refused` counts damaged frames that the host refused.
    """

    def __init__(self, port: Port, timeout: float, retries: int) -> None:
        self._port = port
        self._timeout = timeout
        self._retries = retries
        self._name = str(getattr(port, "port", None) or getattr(port, "name", None) or "")
        # A repeat is recognised by its number, so two hosts in turn must not start alike.
        self._seq = time.monotonic_ns() // 1000 & 0xFF
        self._early = 0
        self._replies: deque[Frame] = deque()
        self.reader = FrameReader()
        self.events: list[deque[Frame]] = [deque() for _ in range(MAX_CONTEXTS)]
        self.resent = 0
        self.refusals = 0

    @property
    def _thing(self) -> str:
        return f"port {self._name}".strip()

    def _gone(self, why: object) -> PortGone:
        return PortGone(
            self._thing, "stays open while the chip is in use", why, "reconnect and start again"
        )

    def send(self, data: bytes) -> None:
        """Write all bytes.

        Raises
        ------
        PortGone
            The port is gone or takes no bytes.
        """
        view = memoryview(data)
        stalled = 0
        while view:
            try:
                taken = self._port.write(bytes(view))
            except (OSError, ValueError, TypeError) as error:
                raise self._gone(error) from error
            count = len(view) if taken is None else taken
            stalled = 0 if count else stalled + 1
            if stalled > self._retries:
                raise self._gone("it takes no bytes")
            view = view[count:]

    def pump(self, wait: float) -> bool:
        """Read what has come, for at most `wait` seconds; false when nothing came.

        Raises
        ------
        PortGone
            The port is gone.
        """
        started = time.monotonic()
        try:
            self._port.timeout = max(wait, 0.0)
            data = self._port.read(1)
            more = int(getattr(self._port, "in_waiting", 0)) if data else 0
            if more:
                data += self._port.read(more)
        except (OSError, ValueError, TypeError) as error:
            # pyserial raises TypeError when another thread closes the port under a read.
            raise self._gone(error) from error
        if not data:
            early = time.monotonic() - started < wait / 2
            self._early = self._early + 1 if early else 0
            if self._early > EARLY_READS:
                raise self._gone("end of file")
            return False
        self._early = 0
        for frame in self.reader.feed(data):
            if frame.kind & ~CONTEXT in (Event.TOKEN, Event.DONE):
                self.events[frame.kind >> 4 & 3].append(frame)
            elif frame.kind == Event.ERROR:
                self.refusals += 1
            elif frame.kind & REPLY and frame.payload:
                self._replies.append(frame)
        return True

    def exchange(
        self, requests: Iterable[tuple[int, bytes]], window: int = 1
    ) -> Iterator[tuple[int, int, bytes]]:
        """Send requests, up to `window` unanswered; yield (index, status, data) as answered.

        A request is a frame's type, context included, and its payload.

        The chip answers in order, so an answer to a later request shows that earlier ones were
        lost: they are sent again at once. Only idempotent commands may have a window above 1.
        Behind a CRC, which takes the chip long, at most `FRAMES_HELD` are under way.

        Raises
        ------
        SetunError
            No answer after all retries; PortGone when the port is.
        """
        source = enumerate(requests)
        flight: deque[_Pending] = deque()
        self._replies.clear()
        while True:
            begin = len(flight)
            if _room(flight, window) >= min(RUN, (window + 1) // 2) or not flight:
                while _room(flight, window) > 0 and (each := next(source, None)):
                    flight.append(self._numbered(*each))
                self._transmit(list(islice(flight, begin, None)))
            if not flight:
                return
            refusals = self.refusals
            heard = self.pump(max(flight[0].since + self._timeout - time.monotonic(), 0.001))
            while self._replies:
                reply = self._replies.popleft()
                position = _match(flight, reply)
                if position is None:
                    continue
                lost = [flight.popleft() for _ in range(position)]
                answered = flight.popleft()
                # Requests queue behind each other on the line: the clock of the next starts now.
                for request in flight:
                    request.since = time.monotonic()
                flight.extend([self._again(request) for request in lost])
                yield answered.index, reply.payload[0], reply.payload[1:]
            alone_refused = self.refusals != refusals and len(flight) == 1
            late = not heard and flight and time.monotonic() - flight[0].since >= self._timeout
            if alone_refused or late:
                for _ in range(len(flight)):
                    flight.append(self._again(flight.popleft()))

    def _again(self, request: _Pending) -> _Pending:
        if request.tries > self._retries:
            detail = (
                f"no answer to {Command(request.kind & ~CONTEXT).name} in {request.tries} tries"
            )
            if self.refusals:
                detail += f", {self.refusals} frames refused"
            raise SetunError(
                self._thing, "a chip that answers", detail, "check baud rate and bitstream"
            )
        self.resent += 1
        self._transmit([request])
        return request

    def _numbered(self, index: int, request: tuple[int, bytes]) -> _Pending:
        kind, payload = request
        self._seq = (self._seq + 1) & 0xFF
        return _Pending(index, kind, self._seq, encode_frame(kind, self._seq, payload))

    def _transmit(self, run: list[_Pending]) -> None:
        # The delimiter ahead closes whatever noise or a broken-off frame left open.
        if run:
            self.send(b"\0" + b"".join(request.wire for request in run))
        for request in run:
            request.tries += 1
            request.since = time.monotonic()


def _room(flight: Iterable[_Pending], window: int) -> int:
    """Requests that may follow those in flight."""
    kinds = [request.kind for request in flight]
    slow = kinds.index(Command.CRC) if Command.CRC in kinds else window
    return min(window, slow + 1 + FRAMES_HELD) - len(kinds)


def _match(flight: Iterable[_Pending], reply: Frame) -> int | None:
    for position, request in enumerate(flight):
        if reply.seq == request.seq and reply.kind == request.kind | REPLY:
            return position
    return None
