"""A transformer, whose conversations are as long as it has positions."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from safetensors.numpy import save_file

from front.serve.serving import Served, served
from front.serve.test_api import post
from setun.firmware.models.architecture import find
from setun.models.load import load_model
from setun.models.random import random_checkpoint

POSITIONS = 24


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("positions")
    family = find("bitnet")
    config = replace(family.sized(277, 64, 2, 128), max_position_embeddings=POSITIONS)
    save_file(dict(random_checkpoint(family, config, seed=4).tensors), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(family.config_fields(config)))
    with served(load_model(folder), contexts=1) as server:
        yield server


def test_answers_end_with_the_last_position(server: Served) -> None:
    prompt = list(range(3, 13))
    asked = {"prompt": prompt, "max_tokens": 100, "temperature": 0}
    for _ in range(2):  # a full context is begun anew
        found = post(server, asked).json()
        # The last token is sampled behind the last position, and finds none itself.
        assert found["usage"]["completion_tokens"] == POSITIONS - len(prompt) + 1
        assert found["choices"][0]["finish_reason"] == "length"
        assert found["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    made = [int(word) for word in found["choices"][0]["text"].split()]
    longer = [*prompt, *made[:4]]
    short = post(server, {**asked, "max_tokens": 4}).json()["choices"][0]["text"]
    assert short.split() == [str(token) for token in made[:4]]
    found = post(server, {**asked, "prompt": longer, "max_tokens": 2}).json()
    assert found["usage"]["prompt_tokens_details"]["cached_tokens"] == len(longer)
    assert found["choices"][0]["text"].split() == [str(token) for token in made[4:6]]


def test_prompts_beyond_the_positions(server: Served) -> None:
    whole = {"prompt": [3] * POSITIONS, "max_tokens": 5}
    assert post(server, whole).json()["usage"]["completion_tokens"] == 1
    refused = post(server, {"prompt": [3] * (POSITIONS + 1)})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "context_length_exceeded"
