"""The endpoint over HTTP: replies and streams as the API has them, byte by byte."""

import json
from typing import Any

import httpx
import pytest

from front.serve.serving import Served, said
from setun.firmware.image.image import Image

ASKED = {"prompt": "ROMEO:", "max_tokens": 12, "temperature": 0}


def post(server: Served, body: Any, path: str = "completions", **options: Any) -> httpx.Response:
    with server.client() as client:
        return client.post(f"/v1/{path}", json=body, **options)


def events(data: bytes) -> list[Any]:
    """The events of a stream, each exactly framed; comments left out, [DONE] as it is."""
    assert data.endswith(b"\n\n")
    found = []
    for frame in data[:-2].split(b"\n\n"):
        if frame.startswith(b":"):
            continue
        assert frame.startswith(b"data: ") and b"\n" not in frame and b"\r" not in frame
        body = frame.removeprefix(b"data: ")
        found.append("[DONE]" if body == b"[DONE]" else json.loads(body))
    return found


def test_completion(golden: Served, image: Image) -> None:
    reply = post(golden, ASKED)
    assert reply.status_code == 200 and reply.headers["content-type"] == "application/json"
    found = reply.json()
    assert found["object"] == "text_completion" and found["id"].startswith("cmpl-")
    assert found["model"] == image.name and isinstance(found["created"], int)
    text = said(image, "ROMEO:", 12)
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "length"}
    assert found["choices"] == [choice]
    counts = {"prompt_tokens": 6, "completion_tokens": 12, "total_tokens": 18}
    assert found["usage"].items() >= counts.items()


def test_stream(golden: Served, image: Image) -> None:
    reply = post(golden, {**ASKED, "stream": True, "stream_options": {"include_usage": True}})
    assert reply.headers["content-type"].startswith("text/event-stream")
    *chunks, counted, done = events(reply.content)
    assert done == "[DONE]" and len({chunk["id"] for chunk in chunks}) == 1
    assert all(chunk["usage"] is None for chunk in chunks)
    choices = [chunk["choices"][0] for chunk in chunks]
    assert "".join(choice["text"] for choice in choices) == said(image, "ROMEO:", 12)
    assert [choice["finish_reason"] for choice in choices] == [None] * 12 + ["length"]
    assert counted["choices"] == [] and counted["usage"]["total_tokens"] == 18


def test_chat(golden: Served, image: Image) -> None:
    messages = [{"role": "system", "content": "A play."}, {"role": "user", "content": "ROMEO:"}]
    asked = {"messages": messages, "max_completion_tokens": 9, "seed": 4, "temperature": 0.7}
    text = said(image, "A play.\nROMEO:\n", 9, seed=4, temperature=0.7)
    found = post(golden, asked, "chat/completions").json()
    assert found["object"] == "chat.completion" and found["id"].startswith("chatcmpl-")
    (choice,) = found["choices"]
    assert choice["message"] == {"role": "assistant", "content": text, "refusal": None}
    reply = post(golden, {**asked, "stream": True}, "chat/completions")
    first, *pieces, last, done = events(reply.content)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(piece["choices"][0]["delta"]["content"] for piece in pieces) == text
    assert last["choices"][0]["delta"] == {} and last["choices"][0]["finish_reason"] == "length"
    assert done == "[DONE]" and "usage" not in last


def test_several_prompts_and_choices(golden: Served, image: Image) -> None:
    asked = {**ASKED, "prompt": ["ROMEO:", "JULIET:"], "n": 2, "seed": 7, "temperature": 1}
    for stream in (False, True):
        reply = post(golden, {**asked, "stream": stream})
        texts = dict.fromkeys(range(4), "")
        if stream:
            for chunk in events(reply.content)[:-1]:
                for choice in chunk["choices"]:
                    texts[choice["index"]] += choice["text"]
        else:
            texts = {choice["index"]: choice["text"] for choice in reply.json()["choices"]}
        for index, text in texts.items():
            prompt = ["ROMEO:", "JULIET:"][index // 2]
            assert text == said(image, prompt, 12, seed=7 + index, temperature=1.0)


def test_stop(golden: Served, image: Image) -> None:
    whole = said(image, "ROMEO:", 40)
    stop = whole[20:24]
    expected = whole[: whole.index(stop)]
    asked = {**ASKED, "max_tokens": 40, "stop": ["\x00", stop]}
    (choice,) = post(golden, asked).json()["choices"]
    assert (choice["text"], choice["finish_reason"]) == (expected, "stop")
    *chunks, _ = events(post(golden, {**asked, "stream": True}).content)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == expected
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    golden.idle()


def test_prompts_of_ids(golden: Served) -> None:
    text = post(golden, ASKED).json()["choices"][0]["text"]
    ids = golden.boards and post(golden, {**ASKED, "prompt": _ids(golden, "ROMEO:")}).json()
    assert ids["choices"][0]["text"] == text


def _ids(server: Served, text: str) -> list[int]:
    from setun.firmware.models.tokenizer import Tokenizer

    assert server.image.tokenizer_json is not None
    return Tokenizer.from_json(server.image.tokenizer_json, server.image.vocab_size).encode(text)


def test_models_and_health(golden: Served, image: Image) -> None:
    with golden.client() as client:
        (model,) = client.get("/v1/models").json()["data"]
        assert model["id"] == image.name and model["object"] == "model"
        assert client.get(f"/v1/models/{image.name}").json() == model
        assert client.get("/v1/models/other").json()["error"]["code"] == "model_not_found"
        assert client.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("change", "status", "param", "says"),
    [
        ({"logprobs": 1}, 400, "logprobs", "logprobs is not served"),
        ({"logprobs": 0}, 400, "logprobs", "logprobs is not served"),
        ({"echo": True}, 400, "echo", "not served"),
        ({"model": "gpt-4"}, 404, "model", "does not exist"),
        ({"prompt": "€"}, 400, "prompt", "position 0"),
        ({"prompt": []}, 400, "prompt", "must be a string"),
        ({"prompt": [65]}, 400, "prompt", "from 0 to 64"),
        ({"prompt": "a" * 9000}, 400, "prompt", "at most 8192"),
        ({"max_tokens": 0}, 400, "max_tokens", "from 1 to 1024"),
        ({"max_tokens": True}, 400, "max_tokens", "whole number"),
        ({"temperature": -1}, 400, "temperature", "must be 0"),
        ({"temperature": "hot"}, 400, "temperature", "must be a number"),
        ({"top_p": 0.5}, 400, "top_p", "samples from all tokens"),
        ({"stop": [""]}, 400, "stop", "1 to 1000 characters"),
        ({"stop": ["a"] * 5}, 400, "stop", "at most 4"),
        ({"stream": "yes"}, 400, "stream", "true or false"),
        ({"stream_options": {}}, 400, "stream_options", "need stream"),
        ({"n": 129}, 400, "n", "from 1 to 128"),
        ({"n": 100}, 429, None, "too many"),
    ],
)
def test_refusals(
    golden: Served, change: dict[str, Any], status: int, param: str | None, says: str
) -> None:
    reply = post(golden, {**ASKED, **change})
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (status, param) and says in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_refusals_of_http(golden: Served) -> None:
    with golden.client() as client:
        for reply, status in (
            (client.get("/v1/completions"), 405),
            (client.get("/v1/nothing"), 404),
            (client.post("/v1/completions", content=b"{"), 400),
            (client.post("/v1/completions", content=b"[]"), 400),
            (client.post("/v1/completions", content=b'{"n": NaN}'), 400),
            (client.post("/v1/completions", content=b"[" * 100_000), 400),
            (client.post("/v1/completions", content=b" " * (1 << 20) + b"{}"), 413),
            (client.post("/v1/completions", data={"prompt": "a"}), 415),
            (client.get("/health", headers={"host": "elsewhere.example"}), 200),
        ):
            assert reply.status_code == status
            assert status == 200 or reply.json()["error"]["message"]
