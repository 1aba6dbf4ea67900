"""The requests of Open WebUI, to a model with a chat template: models, a chat, its title."""

import json
from collections.abc import Iterator

import pytest

from firmware.models.chains import chain, following, write
from firmware.models.layouts import llama_json
from front.serve.serving import Served, served
from front.serve.test_api import events, post
from front.talk.test_chat import EOS, PLAIN, SIZE
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


def test_models(server: Served) -> None:
    with server.client(headers=HEADERS) as client:
        found = client.get("/v1/models").json()
    assert found["object"] == "list"
    assert [model["id"] for model in found["data"]] == [server.image.name]


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


def test_a_title(server: Served) -> None:
    body = {
        "model": server.image.name,
        "messages": [{"role": "user", "content": "Name the talk"}],
        "stream": False,
        "max_completion_tokens": 1000,
        "temperature": 0,
    }
    found = post(server, body, "chat/completions", headers=HEADERS).json()
    (choice,) = found["choices"]
    assert choice["message"]["content"] == "the" and choice["finish_reason"] == "stop"
