"""The HTTP routes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from setun.serve.events import DONE, ClientGone, EventStream, event, while_there
from setun.serve.guard import Guard, body_of
from setun.serve.job import Failed, Finished
from setun.serve.metrics import CONTENT_TYPE, metrics
from setun.serve.order import Order
from setun.serve.page import page, page_headers
from setun.serve.refusal import Refusal
from setun.serve.replies import Choice, Replies, usage
from setun.serve.service import Running, Service, unavailable
from setun.serve.status import status
from setun.streams import tell

CHECKED = {"x-setun-verified": "golden"}  # every token was compared before it was sent
_GONE = 499  # of a client that nobody can tell it any more


class Api:
    """Handlers of the routes, for one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def completions(self, request: Request) -> Any:
        """POST /v1/completions."""
        return await self._answer(request, chat=False)

    async def chat(self, request: Request) -> Any:
        """POST /v1/chat/completions."""
        return await self._answer(request, chat=True)

    async def models(self, request: Request) -> Response:
        """GET /v1/models: the one model."""
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> Response:
        """GET /v1/models/{name}."""
        name = request.path_params["name"]
        if name != self._service.image.name:
            message = f"The model {name[:80]!r} does not exist"
            raise Refusal(404, message, param="model", code="model_not_found")
        return JSONResponse(self._model())

    async def health(self, request: Request) -> Response:
        """GET /health: 200 while a board is there."""
        up = sum(board.up for board in self._service.boards)
        state = "ok" if up == len(self._service.boards) else "degraded" if up else "unavailable"
        return JSONResponse({"status": state}, 200 if up else 503)

    async def status(self, request: Request) -> Response:
        """GET /chip: model, boards, and what they do now."""
        return JSONResponse(status(self._service))

    async def metrics(self, request: Request) -> Response:
        """GET /metrics, in Prometheus' text format."""
        return Response(metrics(self._service), media_type=CONTENT_TYPE)

    async def page(self, request: Request) -> Response:
        """GET /: the page."""
        return HTMLResponse(page(), headers=page_headers())

    async def refused(self, request: Request, error: Exception) -> Response:
        """The reply to a request that is refused."""
        assert isinstance(error, Refusal)
        return self.refusal(error)

    def refusal(self, refusal: Refusal) -> Response:
        """An error object as a reply."""
        self._service.pool.tally.add("errors", label=str(refusal.status))
        return JSONResponse(refusal.body, refusal.status, headers=dict(refusal.headers))

    async def unknown(self, request: Request, error: Exception) -> Response:
        """The reply to a path or a method that there is none of."""
        assert isinstance(error, HTTPException)
        message = f"{request.method} {request.url.path}: {error.detail}"
        return self.refusal(Refusal(error.status_code, message, headers=error.headers or {}))

    async def left(self, request: Request, error: Exception) -> Response:
        """What is made of a client that is gone."""
        return Response(status_code=_GONE)

    async def broken(self, request: Request, error: Exception) -> Response:
        """The reply to a request that finds a fault of ours."""
        tell(f"setun: error: {request.method} {request.url.path}: {type(error).__name__}: {error}")
        return self.refusal(Refusal(500, "internal error", kind="server_error"))

    def _model(self) -> dict[str, Any]:
        image = self._service.image
        return {"id": image.name, "object": "model", "created": 0, "owned_by": "setun"}

    async def _answer(self, request: Request, *, chat: bool) -> Any:
        service = self._service
        body = await body_of(request, service.limits)
        order, prompts, answers = await asyncio.to_thread(service.read, body, chat=chat)
        replies = Replies(service.image.name, service.fingerprint, chat=chat)
        headers = CHECKED if order.verify else {}
        if not order.stream:
            whole = self._whole(order, prompts, answers, replies)
            return JSONResponse(await while_there(request.receive, whole), headers=headers)
        running = service.begin(order, prompts, answers)
        frames = _frames(order, running, replies)
        return EventStream(frames, running.close, service.limits.silence, headers)

    async def _whole(
        self, order: Order, prompts: Sequence[Any], answers: Sequence[Any], replies: Replies
    ) -> dict[str, Any]:
        choices = [Choice(index) for index in range(len(answers))]
        running = self._service.begin(order, prompts, answers)
        try:
            async for index, item in running.news():
                if isinstance(item, Failed):
                    raise unavailable(item.error)
                choices[index].text += item.text
                if isinstance(item, Finished):
                    choices[index].reason = item.reason
        finally:
            running.close()
        return replies.whole(choices, usage(running.jobs, order.choices))


async def _frames(order: Order, running: Running, replies: Replies) -> AsyncIterator[bytes]:
    """The events of a stream, [DONE] the last unless it fails."""
    none = {"usage": None} if order.usage else {}
    for index in range(len(running.jobs)):
        if first := replies.first(index):
            yield event(first | none)
    async for index, item in running.news():
        if isinstance(item, Failed):
            yield event(unavailable(item.error).body)
            return
        if isinstance(item, Finished):
            if item.text:
                yield event(replies.piece(index, item.text) | none)
            yield event(replies.last(index, item.reason) | none)
        elif item.text or order.details:
            yield event(replies.piece(index, item.text, item if order.details else None) | none)
    if order.usage:
        yield event(replies.counted(usage(running.jobs, order.choices)))
    yield DONE


def application(
    service: Service,
    *,
    token: str | None = None,
    hosts: frozenset[str] | None = None,
    origins: Sequence[str] = (),
) -> Starlette:
    """The routes of `service`.

    Parameters
    ----------
    token, hosts
        See `Guard`.
    origins
        Sites whose pages may ask, as CORS has them.
    """
    api = Api(service)
    routes = [
        *(
            Route(f"{base}{path}", handler, methods=[method])
            for base in ("/v1", "")  # clients differ in whether /v1 is part of the address
            for method, path, handler in (
                ("POST", "/completions", api.completions),
                ("POST", "/chat/completions", api.chat),
                ("GET", "/models", api.models),
                ("GET", "/models/{name:path}", api.model),
            )
        ),
        Route("/health", api.health),
        Route("/metrics", api.metrics),
        Route("/chip", api.status),
        Route("/", api.page),
    ]
    middleware = [Middleware(Guard, token=token, hosts=hosts, refused=api.refusal)]
    if origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
            expose_headers=list(CHECKED),
        )
        middleware.insert(0, cors)
    handlers: dict[Any, Any] = {
        Refusal: api.refused,
        HTTPException: api.unknown,
        ClientGone: api.left,
        Exception: api.broken,
    }
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)
