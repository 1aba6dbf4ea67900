"""Server-sent events, and replies that notice a client that goes away."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from starlette.types import Receive, Scope, Send

T = TypeVar("T")
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


class ClientGone(Exception):
    """Nobody reads the reply any more."""


def event(value: object) -> bytes:
    """One event: JSON on one line, and a blank line."""
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


async def while_there(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do `work` as long as the client is there.

    Raises
    ------
    ClientGone
        It has gone; the work was cancelled.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await working


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream:
    """A reply of events, an ASGI application; ends early when the client leaves.

    Parameters
    ----------
    frames
        Whole events.
    closed
        Called when the reply ends, however it does.
    silence
        Seconds after which a comment keeps the connection alive.
    headers
        Of the reply, beside those of a stream.
    """

    def __init__(
        self,
        frames: AsyncIterator[bytes],
        closed: Callable[[], None],
        silence: float,
        headers: Mapping[str, str],
    ) -> None:
        self._frames, self._closed, self._silence = frames, closed, silence
        told = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            **headers,
        }
        self._headers = [(name.encode(), value.encode()) for name, value in told.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with contextlib.suppress(ClientGone):
                await while_there(receive, self._reply(send))
        finally:
            self._closed()

    async def _reply(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self._headers}
        await send(start)
        coming = asyncio.ensure_future(_next(self._frames))
        try:
            while True:
                done, _ = await asyncio.wait({coming}, timeout=self._silence)
                frame = coming.result() if done else KEEP_ALIVE
                if frame is None:
                    break
                await send({"type": "http.response.body", "body": frame, "more_body": True})
                if done:
                    coming = asyncio.ensure_future(_next(self._frames))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            coming.cancel()


async def _next(frames: AsyncIterator[bytes]) -> bytes | None:
    return await anext(frames, None)
