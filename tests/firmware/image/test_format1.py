"""Image files of format 1: read, verified by their own hash, and the model of a fresh import."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from setun.cli import run
from setun.firmware.errors import SetunError
from setun.firmware.image import container, format1
from setun.firmware.image import file as image_file
from setun.firmware.image.container import Section
from setun.firmware.image.image import Image
from setun.firmware.models.architecture import HGRN_BIT
from setun.firmware.models.checkpoint import Checkpoint
from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.numerics.sampling import Sampler
from setun.firmware.program.isa import Op
from setun.models.load import open_model
from setun.sim.golden import GoldenModel

OLD = Path(__file__).parents[2] / "data" / "format1.setun"


def drawn() -> Image:
    """What the file was made of: as random models were drawn then, one tensor after the other."""
    config, draw = HGRN_BIT.sized(64, 48, 2, 72), np.random.default_rng(3)
    tensors = {
        name: HGRN_BIT.random_tensor(name, shape, draw)
        for name, shape in HGRN_BIT.expected_shapes(config).items()
    }
    model = Checkpoint(architecture=HGRN_BIT, config=config, tensors=tensors, name="random")
    return compile_checkpoint(model)


FRESH = drawn()


def test_it_is_the_model_of_a_fresh_import() -> None:
    file = image_file.read(OLD)
    image = file.image
    assert file.format == format1.FORMAT == 1
    assert image.model_hash == FRESH.model_hash != json_of(OLD)["model_hash"]
    assert image.program == FRESH.program
    assert (image.memory, image.layers) == (FRESH.memory, FRESH.layers)
    assert image.packing == "1.6b"


def json_of(path: Path) -> dict[str, Any]:
    return container.read(path)[0]


@pytest.mark.parametrize("temperature", [None, 0.9])
def test_golden_tokens_are_a_fresh_imports(temperature: float | None) -> None:
    streams = []
    for image in (image_file.load(OLD), FRESH):
        model = GoldenModel(image)
        sample = Sampler(model.numerics, temperature and 1 / temperature, seed=5)
        tokens = [1]
        for _ in range(40):
            model.feed(tokens[-1])
            tokens.append(sample(model.logits()))
        streams.append(tokens)
    assert streams[0] == streams[1] and len(set(streams[0])) > 3


def test_saving_renews_it(tmp_path: Path) -> None:
    path = tmp_path / "new.setun"
    image_file.save(image_file.load(OLD), path)
    file = image_file.read(path)
    assert file.format == image_file.FORMAT == 2
    assert file.image.model_hash == FRESH.model_hash


def test_it_is_told(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    open_model(OLD)
    line = f"{OLD}: image format 1; import the model again to renew it"
    assert caplog.messages == [line]
    assert run(["inspect", str(OLD)]) == 0
    assert "1; import the model again to renew it" in capfd.readouterr().out
    assert run(["inspect", "--json", str(OLD)]) == 0
    assert json.loads(capfd.readouterr().out)["format"] == 1
    image_file.save(FRESH, tmp_path / "new.setun")
    open_model(tmp_path / "new.setun")
    assert caplog.messages == [line]


def test_a_verb_tells_it_on_stderr(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "setun", "run", OLD, "--backend", "golden"]
    done = subprocess.run(
        [*command, "--prompt-ids", "1", "-n", "2", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == f"{OLD}: image format 1; import the model again to renew it\n"
    assert len(json.loads(done.stdout)["tokens"]) == 2


def changed(change: Callable[[dict[str, Any], dict[str, Section]], None]) -> bytes:
    header, sections = container.read(OLD)
    change(header, sections)
    return container.dump(header, list(sections.values()))


def program_with(edit: Callable[[list[dict[str, Any]]], None]) -> bytes:
    def change(header: dict[str, Any], sections: dict[str, Section]) -> None:
        program = json.loads(bytes(sections["program"].data))
        edit(program)
        lines = ",\n".join(json.dumps(i, separators=(",", ":")) for i in program)
        sections["program"] = Section("program", "program", f"[\n{lines}\n]\n".encode())

    return changed(change)


def zeros(name: str) -> bytes:
    def change(header: dict[str, Any], sections: dict[str, Section]) -> None:
        s = sections[name]
        sections[name] = Section(name, s.kind, bytes(len(s.data)), s.meta)

    return changed(change)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (changed(lambda h, s: h.update(model_hash="0" * 24)), "model hash must be"),
        (changed(lambda h, s: h.update(model=[])), "model: has"),
        (changed(lambda h, s: h["model"].pop("hidden_size")), "model: has"),
        (changed(lambda h, s: h["model"].update(hidden_size=64)), "must be that of a model"),
        (changed(lambda h, s: h["model"].update(num_hidden_layers=3)), "must be that of a model"),
        (changed(lambda h, s: h["model"].update(vocab_size=63)), "must be that of a model"),
        (changed(lambda h, s: h["model"].update(intermediate_size=71)), "start of a region"),
        (changed(lambda h, s: h["model"].update(intermediate_size=1 << 23)), "end within 4194304"),
        (changed(lambda h, s: h.update(name="x")), "header has"),
        (changed(lambda h, s: s.pop("gates")), "must have sections constants"),
        (zeros("gates"), "model hash must be"),
        (zeros("embedding"), "model hash must be"),
        (zeros("model.layers.1.attn.o_proj"), "model hash must be"),
        (program_with(lambda p: p[4].update(dst=128)), "model hash must be"),
        (program_with(lambda p: p[4].update(n=1 << 20)), "model hash must be"),
    ],
)
def test_what_is_not_its_own_is_refused(data: bytes, rule: str) -> None:
    with pytest.raises(SetunError, match="m") as caught:
        image_file.parse(data, "m.setun")
    assert rule in str(caught.value)


def test_what_its_hash_missed_is_in_the_new_one() -> None:
    at = next(k for k, i in enumerate(FRESH.program) if i.op is Op.MATVEC)

    def edit(program: list[dict[str, Any]]) -> None:
        note = program[at].pop("note")  # the last field
        program[at] |= {"stat_shift": FRESH.program[at].stat_shift + 1, "note": note}

    image = image_file.parse(program_with(edit)).image
    assert image.model_hash != FRESH.model_hash
    assert np.array_equal(image.matrices[0].codes(), FRESH.matrices[0].codes())
