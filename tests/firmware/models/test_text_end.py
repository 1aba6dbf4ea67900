"""End of text: which tokens a checkpoint names, kept in the image, heeded by the golden model."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from firmware.models.chains import chain, following, write
from firmware.models.layouts import llama_json
from setun.backends import GoldenBackend, Sampling
from setun.firmware.errors import SetunError
from setun.firmware.image import container
from setun.firmware.image import file as image_file
from setun.firmware.models.text_end import end_tokens
from setun.firmware.numerics.options import Numerics
from setun.models.load import open_model

VOCABULARY = 277
ADDED = {"<unk>": 0, "<s>": 1, "</s>": 2, "<|end|>": 5, "<|pad|>": 400}
TOKENIZER = json.dumps({"added_tokens": [{"content": k, "id": v} for k, v in ADDED.items()]})


def ends(
    config: Any = None, generation: Any = None, naming: Any = None, text: str | None = TOKENIZER
) -> tuple[int, ...]:
    field = "eos_token_id"
    return end_tokens(
        {} if config is None else {field: config},
        {} if generation is None else {field: generation},
        {} if naming is None else {"eos_token": naming},
        text,
        VOCABULARY,
    )


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, ()),
        ({"config": 2}, (2,)),
        ({"config": [5, 2, 2]}, (2, 5)),
        ({"config": 2, "generation": [5]}, (5,)),  # as transformers has it
        ({"config": 2, "generation": []}, (2,)),
        ({"naming": "</s>"}, (2,)),
        ({"naming": {"content": "<|end|>", "lstrip": False}}, (5,)),
        ({"naming": "<|end|>", "config": 2}, (2,)),
        ({"naming": "<|other|>"}, ()),
        ({"config": [-1, 400, 2]}, (2,)),  # what is never produced
        ({"config": 97}, ()),  # a letter: upstream's default in a model of characters
        ({"config": 2, "text": None}, ()),
        ({"config": 2, "text": "no JSON"}, ()),
        ({"config": 2, "text": '{"added_tokens": [3]}'}, ()),
    ],
)
def test_which_tokens_end_a_text(files: dict[str, Any], found: tuple[int, ...]) -> None:
    assert ends(**files) == found


@pytest.mark.parametrize("wrong", ["</s>", 2.0, True, [2, "x"], {"id": 2}])
def test_what_is_no_id_is_refused(wrong: object) -> None:
    with pytest.raises(SetunError, match=r"config\.json eos_token_id: must be a token id or"):
        ends(config=wrong)
    with pytest.raises(SetunError, match=r"generation_config\.json eos_token_id: must be"):
        ends(generation=wrong)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says 10, 11, 2, 12, 10 …, where 2 ends a text."""
    config, tensors = chain(following([10, 11, 2, 12]), VOCABULARY, eos_token_id=2)
    return write(tmp_path_factory.mktemp("ends") / "model", config, tensors, llama_json())


def test_golden_model_ends_there(folder: Path) -> None:
    image = open_model(folder).image
    assert image.end_tokens == (2,)
    backend = GoldenBackend(image, Numerics())
    assert list(backend.generate([10], 9, Sampling())) == [11, 2]
    assert list(backend.generate([12], 3, Sampling())) == [10, 11, 2]
    assert list(backend.generate([12], 2, Sampling())) == [10, 11]
    assert list(backend.generate([10], 4, Sampling(ignore_eos=True))) == [11, 2, 12, 10]


def test_images_keep_them_and_those_without_are_as_before(folder: Path) -> None:
    image = open_model(folder).image
    data = image_file.dump(image)
    assert image_file.parse(data).image.end_tokens == (2,)
    bare = replace(image, end_tokens=())
    header, _ = container.parse(image_file.dump(bare), "image")
    assert "end_tokens" not in header  # a release of before reads it
    assert image_file.parse(image_file.dump(bare)).image.end_tokens == ()
    assert image_file.parse(data).image.model_hash == image.model_hash == bare.model_hash


@pytest.mark.parametrize("wrong", [[2, 2], [3, 2], [-1], [VOCABULARY], [True], ["2"], 2, {}])
def test_images_with_wrong_ones_are_refused(folder: Path, wrong: object) -> None:
    header, sections = container.parse(image_file.dump(open_model(folder).image), "image")
    data = container.dump(header | {"end_tokens": wrong}, list(sections.values()))
    with pytest.raises(SetunError, match="image end_tokens: must be"):
        image_file.parse(data)
