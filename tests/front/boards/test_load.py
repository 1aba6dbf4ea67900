"""`setun load`: another model, verified; cut short, a chip that refuses instead of garbage."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from front.boards.conftest import Socket
from front.boards.golden import GoldenConversation
from front.damage import damage_writes
from setun.backends import Sampling
from setun.backends.connect import ConnectedChip
from setun.backends.loading import load, loaded_hash
from setun.cli import cli
from setun.firmware.errors import SetunError
from setun.firmware.image import file as image_file
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import Space, lay_out
from setun.firmware.numerics.options import Numerics
from setun.models.random import random_image

pytestmark = pytest.mark.many_cycles


def setun(socket: Socket, verb: str, *args: str) -> tuple[int, str, str]:
    line = [verb, *args, "--port", str(socket.path), "--baud", str(socket.config.baud)]
    result = CliRunner().invoke(cli, line)
    return result.exit_code, result.stdout, str(result.exception or "")


def test_swap_says_what_was_there_and_refuses_what_is_too_large(
    socket: Socket, files: dict[str, str], images: dict[str, Image], tmp_path: Path
) -> None:
    code, out, error = setun(socket, "load", files["d"], "--json")
    assert code == 0, error
    swap = json.loads(out)
    assert swap["written"] and swap["replaced"] == images["a"].model_hash
    assert swap["model_hash"] == images["d"].model_hash
    code, out, error = setun(socket, "load", files["d"])
    assert code == 0 and "on the chip already" in out, error
    code, out, error = setun(
        socket, "stream", "--model", files["d"], "--prompt", "x", "-n", "5", "--json"
    )
    golden = GoldenConversation(images["d"], socket.config.numerics)
    assert json.loads(out)["text"] == golden.answer("x", 5, Sampling()), error

    large = tmp_path / "large.setun"
    image_file.save(random_image("random-128x4"), large, Numerics())
    code, out, error = setun(socket, "load", str(large))
    assert code != 0 and out == ""
    assert "weight_words" in error and f"of {socket.config.weight_words}" in error
    code, out, error = setun(socket, "stream", "--model", files["d"], "--prompt", "x", "-n", "2")
    assert code == 0, error


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGKILL, -9), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_a_load_that_is_interrupted_leaves_a_chip_that_refuses(
    socket: Socket,
    files: dict[str, str],
    images: dict[str, Image],
    number: signal.Signals,
    status: int,
) -> None:
    """Killed by force between two writes, the chip says that it has no program."""
    script = (
        "import os, signal, sys\n"
        # Background jobs of a shell start with SIGINT ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from setun.backends import loading\n"
        "from setun.cli import run\n"
        "real = loading.load\n"
        "def cut(client, layout, progress, *others):\n"
        "    real(client, layout,\n"
        "         lambda n, of: os.kill(os.getpid(), int(sys.argv[1])) if n > of // 3 else None,\n"
        "         *others)\n"
        "loading.load = cut\n"
        "sys.exit(run(sys.argv[2:]))\n"
    )
    where = ("--port", str(socket.path), "--baud", str(socket.config.baud))
    done = subprocess.run(
        [sys.executable, "-c", script, str(int(number)), "load", files["d"], *where],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert done.returncode == status and "Traceback" not in done.stderr
    chip = ConnectedChip(str(socket.path), socket.config.baud)
    assert loaded_hash(chip.client, chip.config) is None
    chip.client.prompt([1])
    assert list(chip.generate(4, Sampling())) == []
    assert chip.client.last_done is not None and chip.client.last_done.reason == 3
    chip.close()
    for model in (files["a"], files["d"]):
        code, out, error = setun(socket, "stream", "--model", model, "--prompt", "x")
        assert code != 0 and out == ""
        assert "must hold a whole model" in error and f"setun load {model}" in error
    code, _, error = setun(socket, "load", files["a"], "--json")
    assert code == 0, error
    code, out, error = setun(
        socket, "stream", "--model", files["a"], "--prompt", "x", "-n", "4", "--json"
    )
    golden = GoldenConversation(images["a"], socket.config.numerics)
    assert json.loads(out)["text"] == golden.answer("x", 4, Sampling()), error


@pytest.mark.parametrize(
    "space",
    [
        pytest.param(Space.PROGRAM, marks=pytest.mark.slow),
        Space.CONSTANTS,
        pytest.param(Space.GATES, marks=pytest.mark.slow),
    ],
)
def test_contents_of_another_model_under_the_right_hash_are_found(
    socket: Socket, files: dict[str, str], images: dict[str, Image], space: Space
) -> None:
    chip = ConnectedChip(str(socket.path), socket.config.baud)
    words = chip.client.read(space, 0, 16)  # memory words are written whole
    words[6] ^= 1
    chip.client.write(space, 0, words)
    chip.close()
    code, out, error = setun(socket, "stream", "--model", files["a"], "--prompt", "x", "-n", "2")
    assert code != 0 and out == "" and f"differs in {space.name.lower()}" in error
    code, out, error = setun(socket, "load", files["a"], "--json")
    assert code == 0 and json.loads(out)["written"], error
    code, out, error = setun(socket, "stream", "--model", files["a"], "--prompt", "x", "-n", "2")
    assert code == 0, error


def test_a_shipped_model_is_known_without_its_name(
    socket: Socket, images: dict[str, Image], files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = {"second": files["d"], "first": files["a"]}
    monkeypatch.setattr("setun.models.names", lambda: list(shipped))
    known = {name: image_file.load(Path(p)) for name, p in shipped.items()}
    monkeypatch.setattr("setun.talk.pairing.load_model", lambda name: known.get(name) or name)
    code, out, error = setun(socket, "stream", "--prompt", "x", "-n", "3", "--json")
    golden = GoldenConversation(images["a"], socket.config.numerics)
    assert code == 0 and json.loads(out)["text"] == golden.answer("x", 3, Sampling()), error
    code, out, error = setun(socket, "stream", "--model", "second", "--prompt", "x")
    assert "model second: must be the one on the chip; found first" in error


def test_load_verifies(
    socket: Socket, images: dict[str, Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    chip = ConnectedChip(str(socket.path), socket.config.baud)
    layout = lay_out(images["d"], chip.config)
    damage_writes(monkeypatch, Space.CONSTANTS)
    with pytest.raises(SetunError, match="constants memory: must read back with CRC"):
        load(chip.client, layout)
    assert loaded_hash(chip.client, chip.config) is None
    chip.close()


def test_verify_asks_for_checksums_and_writes_nothing(
    socket: Socket, files: dict[str, str], images: dict[str, Image]
) -> None:
    code, out, error = setun(socket, "load", files["a"], "--verify", "--json")
    assert code == 0, error
    told = json.loads(out)
    layout = lay_out(images["a"], socket.config)
    assert told["model_hash"] == images["a"].model_hash
    assert told["crc32"] == {s.name.lower(): f"{layout.crc(s):08x}" for s in layout.spaces}
    code, out, _ = setun(socket, "load", files["a"], "--verify")
    assert code == 0 and told["crc32"]["weights"] in out
    code, out, error = setun(socket, "load", files["d"], "--verify", "--json")
    assert code != 0 and out == "" and "must have the model's CRC" in error
    assert "setun load MODEL writes it" in error and "\n" not in error
    chip = ConnectedChip(str(socket.path), socket.config.baud)
    assert loaded_hash(chip.client, chip.config) == images["a"].model_hash
    chip.close()
