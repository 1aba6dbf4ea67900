"""What is refused before a request is read: no token, another site's page, too long a body."""

import asyncio
import hmac
import json
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from setun.serve.events import ClientGone
from setun.serve.refusal import Refusal
from setun.serve.service import Limits

OPEN = ("/", "/health")  # without a token: nothing of the model or the chip is told there


class Guard:
    """Lets requests with the right token through to `app`, an ASGI application.

    Parameters
    ----------
    token
        What a client must send as `Authorization: Bearer`; None for nothing.
    hosts
        Names by which the server may be called; None for any. A page of another site cannot then
        reach a server of this machine by a name of its own that leads here.
    refused
        Makes the reply of a refusal.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str | None,
        hosts: frozenset[str] | None,
        refused: Callable[[Refusal], Response],
    ) -> None:
        self._app, self._token, self._hosts, self._refused = app, token, hosts, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        app = self._app if refusal is None else self._refused(refusal)
        await app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            return Refusal(403, "the Host header must name this machine; see --host and --token")
        if self._token is None or scope["path"] in OPEN:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self._token.encode())
        if scheme.lower() == "bearer" and right:
            return None
        message = "Incorrect API key provided: send the server's token as Authorization: Bearer"
        return Refusal(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})


def _name(host: str) -> str:
    """A Host header without its port."""
    name, _, rest = host.rpartition(":")
    return (name if name and "]" not in rest else host).lower()


async def body_of(request: Request, limits: Limits) -> Any:
    """The JSON value of a request's body.

    Raises
    ------
    Refusal
        It is too long, comes too slowly, or is no JSON.
    ClientGone
        It broke off.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "the body must be application/json")
    try:
        data = await asyncio.wait_for(_read(request, limits.body), limits.body_seconds)
    except TimeoutError:
        message = f"the body must come within {limits.body_seconds:g} s"
        raise Refusal(408, message, headers={"connection": "close"}) from None
    try:
        return json.loads(data.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body must be JSON in UTF-8") from None


async def _read(request: Request, most: int) -> bytes:
    data = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        data += message.get("body", b"")
        if len(data) > most:
            raise Refusal(
                413, f"the body must have at most {most} bytes", headers={"connection": "close"}
            )
        if not message.get("more_body", False):
            return bytes(data)


def _no_number(name: str) -> None:
    raise ValueError(name)
