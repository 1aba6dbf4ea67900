"""Chats: what a context reads turn by turn, on the command line and of a chip."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from firmware.models.chains import chain, following, write
from firmware.models.layouts import llama_json
from firmware.models.test_chat import LLAMA2
from setun.backends import Sampling
from setun.cli import cli
from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.link.messages import Done, Reason
from setun.firmware.models.chat import Chat
from setun.firmware.models.tokenizer import Tokenizer
from setun.models.load import load_model
from setun.talk.conversation import Conversation
from setun.talk.dialogue import Dialogue
from setun.talk.session import Result

SIZE, BOS, EOS = 277, 1, 2
PLAIN = (  # no BOS: the tokenizer writes it
    "{% for m in messages %}{{ m.role[0] + ':' + m.content | trim + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers "the" behind a colon, and ends its turn."""
    tokenizer = Tokenizer.from_json(llama_json(), SIZE)
    said = [tokenizer.encode(":", begins=False)[-1], *tokenizer.encode("the", begins=False), EOS]
    config, tensors = chain(following(said), SIZE)
    made = write(tmp_path_factory.mktemp("chat") / "model", config, tensors, llama_json())
    naming = {"chat_template": PLAIN, "bos_token": "<s>", "eos_token": "</s>"}
    (made / "tokenizer_config.json").write_text(json.dumps(naming))
    return made


@pytest.fixture(scope="module")
def image(folder: Path) -> Image:
    return load_model(folder)


def encoded(text: str, begins: bool = False) -> list[int]:
    return Tokenizer.from_json(llama_json(), SIZE).encode(text, begins=begins)


def run(*options: str) -> Any:
    return CliRunner().invoke(cli, ["run", *options, "-n", "9"])


def test_run(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.setun"
    assert CliRunner().invoke(cli, ["import", str(folder), "-o", str(path)]).exit_code == 0
    for model in (folder, path):
        done = run(str(model), "--chat", "--prompt", " be ", "--json")
        found = json.loads(done.stdout)
        assert (found["text"], found["reason"]) == ("the", "end_of_text")
        assert found["tokens"] == [*encoded("the"), EOS]


def test_what_chats_need(folder: Path, image: Image) -> None:
    for options, line in (
        ([str(folder), "--chat"], "--chat: needs a message, --prompt TEXT"),
        ([str(folder), "--chat", "--prompt-ids", "5"], "--chat: needs a message"),
        (["shakespeare", "--chat", "--prompt", "a"], "found no chat template (leave it out"),
    ):
        done = run(*options)
        assert isinstance(done.exception, SetunError) and line in str(done.exception)
    with pytest.raises(SetunError, match="found no tokenizer"):
        Dialogue(replace(image, tokenizer_json=None))


def test_turns(image: Image) -> None:
    dialogue = Dialogue(image)
    assert dialogue.ask(" be ") == encoded("u:be</s>a:", begins=True)
    dialogue.answered("the")
    # The model has ended its turn itself, or was cut short.
    assert Dialogue.ask(dialogue, "a", EOS) == encoded("u:a</s>a:")
    dialogue.answered("the the")
    assert dialogue.ask("b", 77) == encoded("</s>u:b</s>a:")


def test_first_token_is_written_once(image: Image) -> None:
    made = replace(image, chat=Chat(template=LLAMA2, bos_token="<s>", eos_token="</s>"))
    ids = Dialogue(made).ask("be")
    assert ids[0] == BOS and ids.count(BOS) == 1
    assert ids == encoded("<s>[INST] be [/INST]", begins=True)[1:]
    plain = Dialogue(image).ask("be")
    assert plain[0] == BOS and plain.count(BOS) == 1


def test_messages_that_are_refused_leave_no_trace(image: Image) -> None:
    template = "{% if '!' in messages[-1].content %}{{ raise_exception('no') }}{% endif %}" + PLAIN
    dialogue = Dialogue(replace(image, chat=Chat(template=template, eos_token="</s>")))
    for content in ("!", "\ud800"):
        with pytest.raises(SetunError):
            dialogue.ask(content)
    assert dialogue.ask("be") == encoded("u:be</s>a:", begins=True)
    empty = Dialogue(replace(image, chat=Chat(template="{{ '' }}"), tokenizer_json=llama_json()))
    assert empty.ask("x") == [BOS]
    with pytest.raises(SetunError, match="at least one token"):
        empty.ask("y")


class Client:
    """A chip's client that records what it is given."""

    longest_prompt = 4

    def __init__(self) -> None:
        self.read: list[list[int]] = []
        self.last_done: Done | None = None

    def prompt(self, tokens: Sequence[int], context: int) -> None:
        self.read[-1] += tokens

    def stop(self, context: int = 0) -> None: ...

    def reset(self, context: int = 0) -> None:
        self.read = []


class Chip:
    """It says what it is told to."""

    config = SimpleNamespace(contexts=1, clock_hz=1)
    port = "nowhere"

    def __init__(self, answers: list[list[int]]) -> None:
        self.client, self.answers = Client(), answers

    def generate(self, count: int, *rest: Any) -> Iterator[int]:
        said = self.answers.pop(0)
        yield from said
        reason = Reason.END_OF_TEXT if said[-1] == EOS else Reason.COUNT
        self.client.last_done = Done(reason, len(said), 100)


def test_conversation(image: Image) -> None:
    the = encoded("the")
    chip = Chip([[*the, EOS], the, [*the, EOS]])
    talk = Conversation(chip, image, chat=True)  # type: ignore[arg-type]
    read = []
    for line in ("be", "a", "b"):
        chip.client.read.append([])
        result = Result()
        assert "".join(talk.answer(line, 9, Sampling(), result)) == "the"
        read.append(chip.client.read[-1])
    assert read[0] == encoded("u:be</s>a:", begins=True)
    assert read[1] == encoded("u:a</s>a:"), "the end of the turn was said"
    assert read[2] == encoded("</s>u:b</s>a:"), "it was not"
    talk.restart()
    chip.client.read.append([])
    chip.answers = [the]
    list(talk.answer("be", 9, Sampling(), Result()))
    assert chip.client.read[-1] == read[0]
