"""`setun stream`: the chip's text, in a terminal and through pipes, over lost ports."""

import codecs
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from front.boards.conftest import Socket
from front.boards.golden import GoldenConversation
from setun.backends import Sampling
from setun.cli import cli
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import Space
from setun.firmware.link import ChipClient, open_port

Images = dict[str, Image]
Files = dict[str, str]
COLD = Sampling()
pytestmark = pytest.mark.timeout(300)


def stream(socket: Socket, *options: str, text: str = "") -> tuple[int, str, str]:
    args = ["stream", "--port", str(socket.path), "--baud", str(socket.config.baud), *options]
    result = CliRunner().invoke(cli, args, input=text)
    return result.exit_code, result.stdout, str(result.exception or "")


def test_one_shot_and_lines_from_a_pipe(socket: Socket, files: Files, images: Images) -> None:
    golden = GoldenConversation(images["a"], socket.config.numerics)
    expected = [
        golden.answer(t, 9, Sampling(temperature=0.9, seed=5 + k))
        for k, t in enumerate(["Hi", "there"])
    ]
    options = ("--model", files["a"], "-n", "9", "--temperature", "0.9", "--seed", "5")
    code, out, error = stream(socket, *options, text="Hi\nthere\n")
    assert (code, out) == (0, "".join(f"{text}\n" for text in expected)), error
    code, out, error = stream(socket, *options, "--json", text="Hi\nthere\n\nHi\n")
    answers = json.loads(out)["answers"]
    assert [a["text"] for a in answers[:2]] == expected, error
    again = GoldenConversation(images["a"], socket.config.numerics)
    seventh = Sampling(temperature=0.9, seed=7)
    assert answers[2]["text"] == again.answer("Hi", 9, seventh)
    code, out, error = stream(socket, *options, "--prompt", "Hi", "--json")
    one = json.loads(out)
    assert one["text"] == expected[0] and len(one["tokens"]) == 9, error
    assert one["cycles_per_token"] > 0 and one["tokens_per_second"] > 0


def test_wrong_and_unknown_models_are_refused(socket: Socket, files: Files) -> None:
    for options, words in (
        (("--model", files["d"]), ("must be the one on the chip", f"setun load {files['d']}")),
        ((), ("none of the shipped", "--model")),
        (("--model", files["a"], "--context", "1"), ("context: must be 0",)),
        (("--model", files["a"], "-n", "0"), ("token count",)),
        (("--model", files["a"], "--prompt", "€"), ("vocabulary", "position 0")),
        (("--model", files["a"], "--prompt", ""), ("at least one token",)),
    ):
        code, out, error = stream(socket, *options, "--json", text="x\n")
        assert code != 0 and out == "" and "\n" not in error
        assert all(word in error for word in words), error


def heed_interrupts() -> None:
    """For a child: background jobs of a shell start with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """The real command with a pseudo-terminal as its own."""

    def __init__(self, *args: str, columns: int = 80) -> None:
        self.screen = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        environment = {**os.environ, "COLUMNS": str(columns), "TERM": "dumb", "LANG": "C.UTF-8"}
        pid, self.keyboard = pty.fork()
        if not pid:
            heed_interrupts()
            os.execve(sys.executable, [sys.executable, "-m", "setun", *args], environment)
        self.pid = pid

    def type(self, text: str) -> None:
        os.write(self.keyboard, text.encode())

    def until(self, pattern: str, after: int = 0, seconds: float = 90) -> re.Match[str]:
        """Read until `pattern` is on the screen behind character `after`."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.screen[after:], re.DOTALL)):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.screen[after:]!r}"
            if select.select([self.keyboard], [], [], 1)[0]:
                assert self._read(), f"the command ended: {self.screen!r}"
        return found

    def _read(self) -> bool:
        try:
            data = os.read(self.keyboard, 65536)
        except OSError:  # how a pseudo-terminal says that nobody has it open
            return False
        self.screen += self._decoder.decode(data).replace("\r", "")
        return bool(data)

    def status(self) -> int:
        """Exit status, once the command has left."""
        while self._read():
            pass
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = 0
        return code

    def close(self) -> None:
        """Hang up; the command ends if it has not."""
        os.close(self.keyboard)
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@pytest.fixture
def terminal(socket: Socket, files: Files) -> Iterator[Terminal]:
    rate = str(socket.config.baud)
    shown = Terminal(
        "stream", "--port", str(socket.path), "--baud", rate, "--model", files["a"], "-n", "60000"
    )
    yield shown
    shown.close()


def stopped_answer(terminal: Terminal, line: str) -> str:
    """Type a line, let some text come, press Ctrl-C: the text that came until the prompt.

    The terminal may show the key itself.
    """
    start = len(terminal.screen)
    terminal.type(line + "\n")
    terminal.until(re.escape(line) + "\n.{20}", start)
    terminal.type("\x03")
    found = terminal.until(
        re.escape(line) + r"\n(.*)\n\[(\d+) tokens, [^\n]* tokens/s[^\n]*\]\n> $", start
    )
    assert 20 <= int(found[2]) < 60_000
    return found[1].replace("^C", "")


def test_a_person_at_a_terminal(
    terminal: Terminal, socket: Socket, images: Images, files: Files
) -> None:
    """Types, stops answers, is told of a bad line, unplugs, plugs in again, leaves."""
    golden = GoldenConversation(images["a"], socket.config.numerics)
    terminal.until("> $")
    for line in ("To be", "or not"):
        text = stopped_answer(terminal, line)
        assert text == golden.answer(line, len(text), COLD)
    terminal.type("\u20ac\n")
    terminal.until("position 0.*\n> $", len(terminal.screen))

    start = len(terminal.screen)
    terminal.type("x\n")
    terminal.until("x\n.{10}", start)
    socket.unplug()
    terminal.until("ttyCHIP is gone; plug it in again.*\n", start)
    socket.plug()
    terminal.until("is back; the conversation starts afresh\n.*> $", start)
    assert terminal.screen[start:].count("is gone") == 1
    fresh = GoldenConversation(images["a"], socket.config.numerics)
    text = stopped_answer(terminal, "again")
    assert text == fresh.answer("again", len(text), COLD)

    # Gone while nobody talks: the next line is asked again, of the chip that came back.
    socket.unplug()
    start = len(terminal.screen)
    terminal.type("more\n")
    terminal.until("is gone", start)
    socket.plug(images["d"])
    terminal.until(f"model {files['a']}: must be the one on the chip", start)
    terminal.until("> $", start)
    terminal.type("\x04")
    assert terminal.status() == 0


@pytest.mark.parametrize("begun", ["", "half a line"])
def test_ctrl_c_at_the_prompt_leaves(terminal: Terminal, begun: str) -> None:
    """A key there, not a signal: one that came before readline waits would be lost."""
    terminal.until("> $")
    terminal.type(begun + "\x03")
    assert terminal.status() == 0
    assert "Traceback" not in terminal.screen


def test_without_a_terminal_a_lost_port_is_an_error(socket: Socket, files: Files) -> None:
    args = [
        "stream",
        "--port",
        str(socket.path),
        "--baud",
        str(socket.config.baud),
        "--model",
        files["a"],
        "-n",
        "60000",
    ]
    child = subprocess.Popen(
        [sys.executable, "-m", "setun", *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdin and child.stdout and child.stderr
    child.stdin.write(b"x\n")
    child.stdin.close()
    assert child.stdout.read(10)
    socket.unplug()
    child.stdout.close()
    error = child.stderr.read().decode()
    child.stderr.close()
    assert child.wait(60) == 1 and error.count("\n") == 1


def test_interrupt_without_a_terminal_stops_the_chip(socket: Socket, files: Files) -> None:
    args = [
        "stream",
        "--port",
        str(socket.path),
        "--baud",
        str(socket.config.baud),
        "--model",
        files["a"],
        "-n",
        "60000",
        "--prompt",
        "x",
    ]
    child = subprocess.Popen(
        [sys.executable, "-m", "setun", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_interrupts,
    )
    assert child.stdout
    first = child.stdout.read(10)
    child.send_signal(signal.SIGINT)
    rest, error = child.communicate(timeout=120)
    assert child.returncode == 130 and error.decode().endswith("setun: error: interrupted\n")
    with open_port(str(socket.path), socket.config.baud) as port:
        client = ChipClient(port)
        client.write(Space.STATE, 0, [0])  # BUSY while any generation is under way
    assert first and rest
