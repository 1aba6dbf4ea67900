"""End of text at the command line and on chips: where it ends, why, and how to go on."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from firmware.models.chains import chain, following, write
from firmware.models.layouts import llama_json
from setun.backends.connect import ConnectedChip
from setun.cli import cli
from setun.firmware.link.messages import Done, Reason


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says 10, 11, 2, 12, 10 …; generation_config.json says that 2 ends a text."""
    config, tensors = chain(following([10, 11, 2, 12]), 277, eos_token_id=None)
    made = write(tmp_path_factory.mktemp("ends") / "model", config, tensors, llama_json())
    (made / "generation_config.json").write_text('{"eos_token_id": [2, 1]}')
    return made


def run(model: Path, *options: str) -> dict:
    line = ["run", str(model), "--prompt-ids", "10", "--json", *options]
    result = CliRunner().invoke(cli, line)
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


def test_run_ends_there_and_says_why(folder: Path, tmp_path: Path) -> None:
    image = tmp_path / "m.setun"
    assert CliRunner().invoke(cli, ["import", str(folder), "-o", str(image)]).exit_code == 0
    for model in (folder, image):
        ended = run(model, "-n", "7")
        assert (ended["tokens"], ended["reason"]) == ([11, 2], "end_of_text")
        on = run(model, "-n", "7", "--ignore-eos")
        assert (on["tokens"], on["reason"]) == ([11, 2, 12, 10, 11, 2, 12], "count")
        assert run(model, "-n", "1")["reason"] == "count"
    shown = CliRunner().invoke(cli, ["inspect", str(image), "--json"])
    assert json.loads(shown.stdout)["end_tokens"] == [1, 2]
    text = CliRunner().invoke(cli, ["run", str(folder), "--prompt-ids", "10"])
    assert "[2 tokens, " in text.stderr and "end of text" in text.stderr


class Talker:
    """A chip that goes on: what it has sampled when the stop arrives still comes."""

    def __init__(self, tokens: list[int], late: int) -> None:
        self.tokens, self.late, self.stops = tokens, late, 0
        self.last_done: Done | None = None

    def generate(self) -> Iterator[int]:
        given = 0
        for token in self.tokens:
            if self.stops:
                if not self.late:
                    break
                self.late -= 1
            given += 1
            yield token
        reason = Reason.COUNT if given == len(self.tokens) else Reason.STOPPED
        self.last_done = Done(reason, given, 1000)

    def stop(self, context: int = 0) -> None:
        self.stops += 1


@pytest.mark.parametrize("late", [0, 1, 5])
def test_the_host_ends_what_a_chip_does_not(late: int) -> None:
    chip = ConnectedChip.__new__(ConnectedChip)
    talker = Talker([5, 6, 2, 7, 8, 9], late)
    chip.client = talker  # type: ignore[assignment]
    given = list(chip._whole(talker.generate(), 0, frozenset({2})))
    assert given == [5, 6, 2] and talker.stops == 1
    assert talker.last_done == Done(Reason.END_OF_TEXT, 3, 1000)
