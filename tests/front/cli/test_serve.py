"""`setun serve` as a process: what it prints, who may ask, how it ends."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from bench.folders import ROOT
from docs import pages
from front.serve.serving import said
from front.serve.test_chip import Socketed
from setun.backends.simulated import simulated_config
from setun.cli import cli
from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import sized_for
from setun.models.load import load_model

SECONDS = 60
PAGE = ROOT / "docs/serve.md"
MODEL = "shakespeare-small"


@contextlib.contextmanager
def running(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server and its address."""
    command = [sys.executable, "-m", "setun", "serve", *options, "--json"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())["url"]
        finally:
            process.kill()


def ended(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    """Exit status and stderr after a signal."""
    process.send_signal(number)
    _, error = process.communicate(timeout=SECONDS)
    return process.returncode, error


def test_commands_of_the_docs(tmp_path: Path) -> None:
    shown = [c for page in pages.pages() for c in pages.blocks(page) if c.words[0] == "setun"]
    served = {tuple(c.words[2:]): c for c in shown if c.words[1] == "serve"}
    assert served
    for words, command in served.items():
        options = list(words)
        process = subprocess.Popen(
            [sys.executable, "-m", "setun", "serve", *options, "--listen", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                assert pages.agrees(command.output, line), line
                url = line.split()[-1]
                for script in pages.scripts(PAGE):
                    run(script, url)
            finally:
                assert ended(process, signal.SIGINT)[0] == 130


def run(script: str, url: str) -> None:
    """A script of the page, as its reader has set things up."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "OPENAI_BASE_URL": f"{url}v1", "OPENAI_API_KEY": "none"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0 and len(done.stdout) == 100, done.stderr


@pytest.mark.parametrize(
    ("number", "status", "told"),
    [(signal.SIGINT, 130, "setun: error: interrupted\n"), (signal.SIGTERM, 143, "")],
)
def test_signals_end_answers_and_the_server(number: int, status: int, told: str) -> None:
    with running(MODEL, "--listen", "0") as (process, url), httpx.Client(base_url=url) as client:
        asked = {"prompt": "A", "max_tokens": 1000, "stream": True}
        with client.stream("POST", "/v1/completions", json=asked, timeout=SECONDS) as reply:
            lines = reply.iter_lines()
            next(lines)
            began = time.monotonic()
            process.send_signal(number)
            (last,) = [line for line in lines if line][-1:]
            assert json.loads(last.removeprefix("data: "))["error"]["code"] == "chip_unavailable"
        _, error = process.communicate(timeout=SECONDS)
        assert (process.returncode, error.lstrip()) == (status, told)
        assert time.monotonic() - began < 5


def refusal(*options: str) -> str:
    done = CliRunner().invoke(cli, ["serve", MODEL, *options])
    assert done.exit_code
    return str(done.exception)


def test_token_file(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("a-secret-of-some-length\n")
    with running(MODEL, "--listen", "0", "--token", str(secret)) as (_, url):
        with httpx.Client(base_url=url) as client:
            assert client.get("/health").status_code == 200
            for given in ({}, {"authorization": "Bearer x"}, {"authorization": "Basic é"}):
                headers: Any = {name: value.encode() for name, value in given.items()}
                reply = client.get("/v1/models", headers=headers)
                assert reply.status_code == 401
                assert reply.json()["error"]["code"] == "invalid_api_key"
            right = {"authorization": "Bearer a-secret-of-some-length"}
            assert client.get("/v1/models", headers=right).status_code == 200
    secret.write_text("short")
    assert "at least 16 characters" in refusal("--token", str(secret))
    assert "No such file" in refusal("--token", str(tmp_path / "none"))


def test_refusals() -> None:
    assert "--token FILE lets only who knows it ask" in refusal("--host", "0.0.0.0")
    assert "must be from 0 to 65535" in refusal("--listen", "70000")
    assert "needs --backend serial" in refusal("--port", "/dev/ttyUSB0").replace("need ", "needs ")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "must be free; found Address already in use" in refusal("--listen", port)
    assert "/nonexistent" in refusal(
        "--listen", "0", "--backend", "serial", "--port", "/nonexistent"
    )


@pytest.mark.many_cycles  # as the chips of tests/front/serve, so that it is compiled once
def test_a_board_and_a_simulated_chip(tmp_path: Path) -> None:
    """Both have the contexts that were asked for; the board's chip is loaded."""
    image = load_model(MODEL)
    config = simulated_config(sized_for(image, ChipConfig(rows=16, terminal=0, contexts=2)))
    board = Socketed(tmp_path / "tty", image, config)
    board.plug()
    lines = {
        "sim": ["--set", "contexts=2"],
        "serial": ["--port", str(board.path), "--baud", str(config.baud), "--verify"],
    }
    try:
        for backend, options in lines.items():
            with running(MODEL, "--listen", "0", "--backend", backend, *options) as (process, url):
                with httpx.Client(base_url=url, timeout=SECONDS) as client:
                    told = client.get("/chip").json()
                    assert told["backend"] == backend and told["boards"][0]["contexts"] == 2
                    asked = {"prompt": "ROMEO:", "max_tokens": 9, "temperature": 0}
                    reply = client.post("/v1/completions", json=asked)
                    assert reply.json()["choices"][0]["text"] == said(image, "ROMEO:", 9)
                    assert ("x-setun-verified" in reply.headers) is (backend == "serial")
                status, error = ended(process, signal.SIGINT)
                assert (status, error.lstrip()) == (130, "setun: error: interrupted\n")
    finally:
        board.pull()
