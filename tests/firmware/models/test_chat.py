"""Chat templates: rendered as Hugging Face does, stored with the model, and what ends a turn."""

import json
from pathlib import Path
from typing import Any

import pytest

from firmware.models.chains import chain, following, write
from firmware.models.layouts import llama_json
from setun.firmware.errors import SetunError
from setun.firmware.image import file as image_file
from setun.firmware.models.chat import LONGEST, Chat, from_files
from setun.firmware.models.checkpoint import load_checkpoint
from setun.firmware.models.text_end import end_tokens
from setun.models.load import open_model

MICROSOFT = (  # as 2B4T's files describe it: no newline, BOS by the tokenizer
    "{% for message in messages %}{{ message['role'] | capitalize + ': ' + "
    "message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)
CHATML = (
    "{%- for message in messages %}\n"
    "    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n"
)
LLAMA2 = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + ' ' + eos_token }}"
    "{% else %}{{ raise_exception('No ' + message['role'] + 's!') }}{% endif %}{% endfor %}"
)
TALK = [{"role": "user", "content": " Hi there "}, {"role": "assistant", "content": "Hello"}]
ADDED = {"<|begin_of_text|>": 0, "<|end_of_text|>": 1, "<|eot_id|>": 9, "<|im_end|>": 7, "</s>": 2}


def chat(template: str) -> Chat:
    return Chat(template=template, bos_token="<s>", eos_token="</s>")


def test_rendered_as_upstream_does() -> None:
    assert chat(MICROSOFT).render(TALK[:1]) == "User: Hi there<|eot_id|>Assistant: "
    assert chat(CHATML).render(TALK) == (
        "<|im_start|>user\n Hi there <|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert chat(LLAMA2).render(TALK, answer=False) == "<s>[INST]  Hi there  [/INST] Hello </s>"


@pytest.mark.parametrize(
    ("template", "token"),
    [
        (MICROSOFT, 9),
        (CHATML, 7),
        (LLAMA2, 2),
        ("{{ messages[1].content }}", None),
        ("{{ messages[1].content }} and <|eot_id|>", None),
        ("{{ messages[5].content }}", None),
        ("{% if %}", None),
    ],
)
def test_which_token_ends_a_turn(template: str, token: int | None) -> None:
    assert chat(template).ends_turn(ADDED) == token


def test_ends_of_2b4t() -> None:
    """config.json says 128001 alone; a chat ends with 128009."""
    added = {"<|begin_of_text|>": 128000, "<|end_of_text|>": 128001, "<|eot_id|>": 128009}
    text = json.dumps({"added_tokens": [{"content": k, "id": v} for k, v in added.items()]})
    config = {"eos_token_id": 128001}
    assert end_tokens(config, {}, {}, text, 128256) == (128001,)
    assert end_tokens(config, {}, {}, text, 128256, chat(MICROSOFT)) == (128001, 128009)
    listed = {"eos_token_id": [128001, 128009]}
    assert end_tokens(config, listed, {}, text, 128256) == (128001, 128009)


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{% if %}", "must render the conversation"),
        ("{{ messages[9].content }}", "must render the conversation"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{% for k in range(10 ** 9) %}{% endfor %}", "Range too big"),
        ("{{ messages.append(1) }}", "must render the conversation"),
        ("{{ raise_exception('roles must take turns') }}", "roles must take turns"),
    ],
)
def test_templates_that_fail(template: str, found: str) -> None:
    with pytest.raises(SetunError) as caught:
        chat(template).render(TALK)
    assert found in str(caught.value) and "\n" not in str(caught.value)


def test_where_a_folder_has_it() -> None:
    named = [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]
    naming: dict[str, Any] = {"bos_token": {"content": "<s>"}, "eos_token": "</s>"}
    for field, separate, want in (
        ({"chat_template": "c"}, None, "c"),
        ({"chat_template": "c"}, "j", "j"),
        ({"chat_template": named}, None, "d"),
        ({}, "j", "j"),
    ):
        assert from_files(naming | field, separate) == chat(want)
    assert from_files(naming, None) is None
    assert from_files(naming | {"chat_template": named[:1]}, None) is None
    for wrong in ({"chat_template": 3}, {"chat_template": "x" * (LONGEST + 1)}, {"bos_token": 3}):
        with pytest.raises(SetunError, match="must be a text of at most"):
            from_files(naming | {"chat_template": "c"} | wrong, None)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"template": 3}', "[" * 100_000])
def test_damaged_records(text: str) -> None:
    with pytest.raises(SetunError, match="chat template"):
        Chat.from_json(text)


def test_kept_in_the_image(tmp_path: Path) -> None:
    config, tensors = chain(following([5, 6, 7]), 300)
    folder = write(tmp_path / "m", config, tensors, llama_json())
    naming = {"chat_template": LLAMA2, "bos_token": "<s>", "eos_token": {"content": "</s>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(naming))
    checkpoint = load_checkpoint(folder)
    assert checkpoint.chat == chat(LLAMA2) and checkpoint.end_tokens == (2,)
    image = open_model(folder).image
    path = tmp_path / "m.setun"
    image_file.save(image, path)
    assert image_file.load(path).chat == chat(LLAMA2)
    assert image_file.load(path).model_hash == image.model_hash
    (folder / "chat_template.jinja").write_text("{% if %}")
    assert load_checkpoint(folder).chat == chat("{% if %}")
    (folder / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(SetunError, match=r"chat_template\.jinja: must be UTF-8"):
        load_checkpoint(folder)
