"""The requests of Open WebUI, to a model with a chat template: models, chats, tasks, errors."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from firmware.models.chains import chain, following, write
from firmware.models.layouts import llama_json
from front.serve.serving import Served, served
from front.serve.test_api import events, post
from front.talk.test_chat import EOS, PLAIN, SIZE
from setun.firmware.image.image import Image
from setun.firmware.models.tokenizer import Tokenizer
from setun.models.load import load_model

HEADERS = {
    "authorization": "Bearer none",
    "x-openwebui-user-name": "Ann",
    "x-openwebui-user-id": "1b4e28ba",
    "x-openwebui-user-role": "admin",
    "x-openwebui-chat-id": "c0ffee",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A model that answers "the" behind a colon, and ends its turn."""
    tokenizer = Tokenizer.from_json(llama_json(), SIZE)
    said = [tokenizer.encode(":", begins=False)[-1], *tokenizer.encode("the", begins=False), EOS]
    config, tensors = chain(following(said), SIZE)
    made = write(tmp_path_factory.mktemp("webui") / "model", config, tensors, llama_json())
    naming = {"chat_template": PLAIN, "bos_token": "<s>", "eos_token": "</s>"}
    (made / "tokenizer_config.json").write_text(json.dumps(naming))
    with served(load_model(made)) as server:
        yield server


@pytest.mark.parametrize("base", ["/v1", ""])
def test_a_connection_with_and_without_the_version(server: Served, base: str) -> None:
    with server.client(headers=HEADERS) as client:
        found = client.get(f"{base}/models").json()
        assert found["object"] == "list"
        assert [model["id"] for model in found["data"]] == [server.image.name]
        asked = {"messages": [{"role": "user", "content": "be"}], "temperature": 0}
        said = client.post(f"{base}/chat/completions", json=asked).json()
    assert said["choices"][0]["message"]["content"] == "the"


def test_a_chat_with_its_history(server: Served) -> None:
    messages = [{"role": "user", "content": "be"}]
    read = 0
    for _ in range(3):
        body = {
            "stream": True,
            "model": server.image.name,
            "messages": messages,
            "temperature": 0,
            "stream_options": {"include_usage": True},
        }
        reply = post(server, body, "chat/completions", headers=HEADERS)
        *chunks, counted, done = events(reply.content)
        assert done == "[DONE]" and chunks[-1]["choices"][0]["finish_reason"] == "stop"
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        assert text == "the"
        assert counted["usage"]["prompt_tokens_details"]["cached_tokens"] == read
        read = counted["usage"]["total_tokens"]
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "or"}]


HISTORY = "USER: be\nASSISTANT: the\n" * 40
TASKS = {
    "title": {"max_completion_tokens": 1000},
    "tags": {},
    "follow-ups": {},
    "search": {"max_tokens": 500},
    "autocompletion": {"max_tokens": 30, "stop": ["\n"]},
}


@pytest.mark.parametrize("task", TASKS)
def test_tasks_behind_an_answer(server: Served, task: str) -> None:
    """Not streamed, the talk so far in one long message, whatever is asked for at its head."""
    about = f"### Task:\nWrite {task} for the talk below, as JSON.\n<chat>\n{HISTORY}</chat>"
    body = {
        "model": server.image.name,
        "messages": [{"role": "user", "content": about}],
        "stream": False,
        "temperature": 0,
        **TASKS[task],
    }
    found = post(server, body, "chat/completions", headers=HEADERS).json()
    (choice,) = found["choices"]
    assert choice["message"]["content"] == "the" and choice["finish_reason"] == "stop"
    assert found["usage"]["prompt_tokens"] > 500


TALK: dict[str, Any] = {
    "stream": True,
    "messages": [{"role": "user", "content": "be"}],
    "temperature": 0,
}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    "more",
    [
        {"messages": [{"role": "system", "content": "Be brief."}, *TALK["messages"]]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "be"}]}]},
        {"user": {"name": "Ann", "id": "1b4e28ba", "email": "ann@there.example", "role": "user"}},
        {"params": {}, "metadata": {"chat_id": "c0ffee"}, "session_id": "s", "id": "m"},
        {"tools": []},
        {"messages": [{"role": "assistant", "content": ""}, *TALK["messages"]]},
        {"top_p": 1, "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}},
        {"stop": ["###"], "seed": 42, "max_tokens": 128, "reasoning_effort": "low"},
        {"response_format": {"type": "text"}, "max_completion_tokens": 64.0},
        {"stream_options": {"include_usage": True}, "max_tokens": None, "seed": None},
    ],
)
def test_what_a_chat_may_carry(server: Served, more: dict[str, Any]) -> None:
    body = {**TALK, "model": server.image.name, **more}
    reply = post(server, body, "chat/completions", headers=HEADERS)
    assert reply.status_code == 200
    *chunks, done = events(reply.content)
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert done == "[DONE]" and "".join(d.get("content", "") for d in deltas) == "the"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"logprobs": True, "top_logprobs": 2}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"tools": [{"type": "function", "function": {"name": "time"}}]}, "tools"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"top_p": 0.9}, "top_p"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": [{"role": "user", "content": [PICTURE]}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "12:00", "tool_call_id": "1"}]}, "messages"),
        ({"messages": []}, "messages"),
    ],
)
def test_what_a_chat_is_refused_for(server: Served, more: dict[str, Any], param: str) -> None:
    body = {**TALK, "model": server.image.name, **more}
    reply = post(server, body, "chat/completions", headers=HEADERS)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, param) and error["message"]
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/tags"),
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/models"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/audio/speech"),
        ("POST", "/v1/responses"),
        ("OPTIONS", "/v1/models"),
    ],
)
def test_what_is_not_there(server: Served, method: str, path: str) -> None:
    with server.client(headers=HEADERS) as client:
        reply = client.request(method, path, json={"model": server.image.name, "input": "be"})
    assert reply.status_code in (404, 405) and path in reply.json()["error"]["message"]


def test_a_connection_from_the_browser(image: Image) -> None:
    """Its page asks for leave first, then with the key."""
    site, key = "https://chat.example", "sixteen-or-more-of-them"
    asks = {
        "origin": site,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    with served(image, token=key, origins=[site]) as server, server.client() as client:
        for path in ("/v1/models", "/v1/chat/completions"):
            reply = client.options(path, headers=asks)
            assert reply.status_code == 200
            assert reply.headers["access-control-allow-origin"] == site
            allowed = reply.headers["access-control-allow-headers"].lower()
            assert "authorization" in allowed and "content-type" in allowed
        for given, status in ((key, 200), ("another-key-of-16", 401)):
            headers = {"origin": site, "authorization": f"Bearer {given}"}
            reply = client.get("/v1/models", headers=headers)
            assert reply.status_code == status
            assert reply.headers["access-control-allow-origin"] == site
