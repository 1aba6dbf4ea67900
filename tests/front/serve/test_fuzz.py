"""Whatever is sent, the reply is one of the API's: never a 500, never a traceback."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from front.serve.serving import Served, served
from setun.firmware.image.image import Image
from setun.serve.service import Limits

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
NAMES = [
    "best_of",
    "echo",
    "frequency_penalty",
    "ignore_eos",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "max_completion_tokens",
    "messages",
    "model",
    "n",
    "presence_penalty",
    "prompt",
    "seed",
    "setun",
    "stop",
    "stream",
    "stream_options",
    "suffix",
    "temperature",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "user",
]
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system", "developer", "tool"]) | JSON,
        "content": st.text("abc €", max_size=9)
        | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": JSON}), max_size=2)
        | JSON,
    }
)
FIELDS = st.fixed_dictionaries(
    {"max_tokens": st.integers(-1, 3)},
    optional={name: JSON for name in NAMES if name != "max_tokens"},
)
LIKELY = st.fixed_dictionaries(
    {
        "max_tokens": st.integers(-1, 3),
        "messages": st.lists(MESSAGE, max_size=3) | JSON,
        "prompt": st.text("abc €\n", max_size=9)
        | st.lists(st.integers(-1, 70), max_size=4)
        | st.lists(st.text("ab", max_size=4), max_size=3),
    },
    optional={
        "stream": st.booleans(),
        "n": st.integers(-1, 3),
        "stop": st.text("ab", max_size=2) | st.lists(st.text("ab", max_size=3), max_size=5),
        "temperature": st.floats(),
        "seed": st.integers(),
        "stream_options": st.dictionaries(st.just("include_usage"), st.booleans() | JSON),
        "setun": st.dictionaries(st.sampled_from(["verify", "details"]), st.booleans() | JSON),
    },
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["accept", "authorization", "content-type", "origin", "x-a", "accept-encoding"]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map(str.strip),
    max_size=4,
)
Server = tuple[Served, httpx.Client]
PATHS = ["/v1/completions", "/v1/chat/completions"]
STATUSES = {200, 400, 403, 404, 405, 413, 415, 429}
FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def server(image: Image) -> Iterator[Server]:
    with served(image, limits=Limits(tokens=20, queue=4)) as made, made.client() as client:
        yield made, client


def check(reply: httpx.Response) -> None:
    assert reply.status_code in STATUSES, (reply.status_code, reply.text)
    if reply.status_code != 200:
        error = reply.json()["error"]
        assert error["message"] and error["type"] == (
            "rate_limit_error" if reply.status_code == 429 else "invalid_request_error"
        )
    elif reply.headers["content-type"].startswith("text/event-stream"):
        assert reply.content.endswith(b"data: [DONE]\n\n")
    else:
        assert reply.json()["choices"]


def ask(server: Server, path: str, data: bytes) -> None:
    check(server[1].post(path, content=data))


@FEW
@given(st.sampled_from(PATHS), FIELDS | LIKELY | JSON)
def test_bodies(server: Server, path: str, body: Any) -> None:
    ask(server, path, json.dumps(body).encode())


@FEW
@given(st.sampled_from(PATHS), st.binary(max_size=60))
def test_bytes(server: Server, path: str, data: bytes) -> None:
    ask(server, path, data)


@FEW
@given(st.sampled_from([*PATHS, "/", "/chip", "/metrics", "/v1/models/x"]), HEADERS)
def test_headers(server: Server, path: str, headers: dict[str, str]) -> None:
    for method in ("GET", "POST", "OPTIONS", "HEAD"):
        body = b'{"prompt": "a", "max_tokens": 1}'
        reply = server[1].request(method, path, content=body, headers=headers)
        assert reply.status_code in STATUSES, (method, reply.status_code, reply.text)


def test_nothing_is_left_behind(server: Server) -> None:
    server[0].idle()
    assert server[1].get("/health").json() == {"status": "ok"}
