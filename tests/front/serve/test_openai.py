"""The API's own Python client against the server."""

from collections.abc import Iterator

import openai
import pytest

from front.serve.serving import Served, said
from setun.firmware.image.image import Image


@pytest.fixture
def client(golden: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{golden.url}v1", api_key="none", max_retries=0) as client:
        yield client


def test_completions(client: openai.OpenAI, image: Image) -> None:
    made = client.completions.create(model=image.name, prompt="ROMEO:", temperature=0)
    assert made.choices[0].text == said(image, "ROMEO:", 16)
    assert made.usage is not None and made.usage.completion_tokens == 16


def test_chat_streams_with_usage(client: openai.OpenAI, image: Image) -> None:
    stream = client.chat.completions.create(
        model=image.name,
        messages=[{"role": "user", "content": [{"type": "text", "text": "ROMEO:"}]}],
        temperature=0,
        max_tokens=10,
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, counted = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == said(image, "ROMEO:\n", 10)
    assert counted.usage is not None and counted.usage.completion_tokens == 10


def test_conversation_goes_on_without_being_fed_again(client: openai.OpenAI, image: Image) -> None:
    messages = [{"role": "user", "content": "JULIET:"}]
    read = 0
    for _ in range(3):
        reply = client.chat.completions.create(
            model=image.name,
            messages=messages,
            max_tokens=8,
            temperature=0,  # type: ignore[arg-type]
        )
        assert reply.usage is not None and reply.usage.prompt_tokens_details is not None
        assert reply.usage.prompt_tokens_details.cached_tokens == read
        text = reply.choices[0].message.content or ""
        assert text == said(image, "".join(f"{m['content']}\n" for m in messages), 8)
        read = reply.usage.total_tokens
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "Ay"}]


def test_leaving_ends_the_answer(golden: Served, client: openai.OpenAI, image: Image) -> None:
    with client.completions.create(
        model=image.name, prompt="A", max_tokens=1000, stream=True
    ) as stream:
        next(iter(stream))
    golden.idle()
    (made,) = golden.pool.tally.of("completion_tokens").values()
    assert made < 600


def test_errors(client: openai.OpenAI, image: Image) -> None:
    with pytest.raises(openai.BadRequestError, match="logprobs is not served") as refused:
        client.completions.create(model=image.name, prompt="A", logprobs=2)
    assert refused.value.param == "logprobs" and refused.value.code == "unsupported_parameter"
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="other", prompt="A")
