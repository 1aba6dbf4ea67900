"""Any terminal program: pyserial's miniterm on the chip's port, and Setun's commands after it."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from front.boards.conftest import LETTERS, Socket, tokenizer_json
from front.boards.golden import GoldenConversation
from hw.chip.test_small import OPTIONS
from setun.backends import Sampling
from setun.backends.simulated import simulated_config
from setun.firmware.config import ChipConfig
from setun.firmware.image import file as image_file
from setun.firmware.image import terminal_tables as text
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import Space, sized_for
from setun.firmware.link import ChipClient, open_port
from setun.firmware.link.port import Port
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import Numerics
from setun.firmware.numerics.sampling import Sampler
from setun.hw.link.sharing import SILENCE
from setun.models.random import random_image
from setun.sim.golden import GoldenModel

pytestmark = [pytest.mark.timeout(900), pytest.mark.many_cycles]
MINITERM = (sys.executable, "-m", "serial.tools.miniterm", "--raw")


@pytest.fixture(params=["big", "small"])
def talking(
    request: pytest.FixtureRequest, images: dict[str, Image], config: ChipConfig, tmp_path: Path
) -> Iterator[Socket]:
    """The usual core with model a, and that of an iCE40UP5K with one that it holds.

    With an alphabet of what can be typed; other ids have no character.
    """
    image, letters = images["a"], LETTERS
    if request.param == "small":
        image = random_image((64, 1, 64), seed=6)
        letters = [c for c in LETTERS if c.isalnum() or c in " \n"]
        base = ChipConfig(**OPTIONS, numerics=Numerics(vector=Format(6, 9)))
        config = simulated_config(sized_for(image, base))
    assert config.terminal
    image = replace(image, tokenizer_json=tokenizer_json(len(letters), letters))
    socket = Socket(tmp_path / "ttyCHIP", image, config)
    socket.plug()
    yield socket
    socket.unplug()


class GoldenScreen:
    """What a person must see: each line's echo and answer."""

    def __init__(self, image: Image, config: ChipConfig) -> None:
        self.image, self.config = image, config
        words = text.text_words(image, config.vector)
        self.tokens, self.bytes = words[: text.BYTES], words[text.BYTES : text.ENDS]
        payload = words[text.SETTINGS :].astype(np.uint8).tobytes()
        self.count, self.greedy, _, self.seed = text.REQUEST.unpack(payload)
        self.answers = 0
        self.restart()

    def restart(self) -> None:
        self.model = GoldenModel(self.image, self.config.numerics)

    def answer(self, line: str) -> str:
        for character in line + "\n":
            self.model.feed(int(self.tokens[ord(character)]) & 0xFF)
        sampler = Sampler(self.config.numerics, 1 / text.TEMPERATURE)
        sampler.generator = self.seed ^ self.answers << 24
        self.answers += 1
        shown = ""
        for _ in range(self.count):
            token = sampler(self.model.logits())
            self.model.feed(token)
            shown += chr(self.bytes[token] & 0xFF) if self.bytes[token] else ""
        return shown


def quiet(socket: Socket) -> None:
    """Let the chip see a silence."""
    chip = socket.chips[-1].chip
    until = chip.cycles() + 40 * SILENCE * socket.config.divisor
    while chip.cycles() < until:
        time.sleep(0.05)


class Miniterm:
    """The real program with a pseudo-terminal as its own."""

    def __init__(self, socket: Socket) -> None:
        self.screen = ""
        pid, self.keyboard = pty.fork()
        if not pid:
            where = (os.path.realpath(socket.path), str(socket.config.baud))
            os.execv(sys.executable, [*MINITERM, *where])
        self.pid = pid
        self.until("---\n$")

    def __enter__(self) -> "Miniterm":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.keyboard)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def type(self, keys: str) -> None:
        os.write(self.keyboard, keys.encode())

    def until(self, pattern: str, after: int = 0, seconds: float = 300) -> re.Match[str]:
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.screen[after:], re.DOTALL)):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.screen[after:]!r}"
            if select.select([self.keyboard], [], [], 1)[0]:
                self.screen += os.read(self.keyboard, 65536).decode().replace("\r", "")
        return found

    def shows(self, keys: str, expected: str) -> None:
        start = len(self.screen)
        self.type(keys)
        self.until(re.escape(expected), start)


def test_miniterm(talking: Socket, tmp_path: Path) -> None:
    """A person types two lines and begins afresh; then `setun stream`; then miniterm again."""
    golden = GoldenScreen(talking.image, talking.config)
    quiet(talking)  # the simulation has asked the chip who it is
    with Miniterm(talking) as miniterm:
        for line in ("To be", "or not"):
            miniterm.shows(line + "\r", line + "\n" + golden.answer(line) + "\n")
        golden.restart()
        miniterm.shows("\rTo bee\x7f\r", "\nTo bee\b \b\n" + golden.answer("To be") + "\n")

    file = tmp_path / "a.setun"
    image_file.save(talking.image, file, talking.config.numerics)
    said = subprocess.run(
        [
            sys.executable,
            "-m",
            "setun",
            "stream",
            "--port",
            str(talking.path),
            "--baud",
            str(talking.config.baud),
            "--model",
            str(file),
            "-n",
            "12",
            "--prompt",
            "Hi",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    conversation = GoldenConversation(talking.image, talking.config.numerics)
    expected = conversation.answer("Hi", 12, Sampling()) + "\n"
    assert (said.returncode, said.stdout) == (0, expected), said.stderr

    # A host's turn in between: another conversation, its answers counted from 0 again.
    quiet(talking)
    golden = GoldenScreen(talking.image, talking.config)
    with Miniterm(talking) as miniterm:
        miniterm.shows("Hi\r", "Hi\n" + golden.answer("Hi") + "\n")


def read(port: Port, count: int) -> bytes:
    got = b""
    port.timeout = 60
    while len(got) < count and (more := port.read(count - len(got))):
        got += more
    return got


def test_a_key_stops_an_answer(talking: Socket) -> None:
    quiet(talking)
    with open_port(str(talking.path), talking.config.baud) as port:
        golden = GoldenScreen(talking.image, talking.config)
        whole = golden.answer("x").replace("\n", "\r\n").encode("latin-1")
        port.write(b"x\r\n")
        first = read(port, 3 + 20)
        assert first == b"x\r\n" + whole[:20]
        port.write(b"\x03")
        rest = b""
        port.timeout = 2
        while more := port.read(64):
            rest += more
        assert rest.endswith(b"\r\n") and whole[20:].startswith(rest[:-2])
        assert len(rest) < len(whole) - 40
        # Frames at once: the first 0x00 takes the line back.
        client = ChipClient(port)
        assert len(client.info()) > 50
        client.write(Space.STATE, 0, [0])  # BUSY while any generation is under way
        client.write(Space.TEXT, 0, np.zeros(text.WORDS, np.uint32))
        quiet(talking)
        port.write(b"abc\r")
        assert read(port, 5) == b"\a\a\a\r\n"
