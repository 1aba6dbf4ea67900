"""The server in front of simulated chips: alone, in a pool, unplugged, killed."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from front.serve.serving import Served, said, served
from front.serve.test_api import events, post
from setun.backends.simulated import blank_verilog, simulated_config
from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import lay_out, sized_for
from setun.hw.emit.verilog import TOP
from setun.serve import opening
from setun.serve.chip import ChipEngine
from setun.sim.memories.system import system_contents
from setun.sim.simulator import SimulatedChip, compile_chip, memory_file

pytestmark = pytest.mark.many_cycles
TOKENS = 16
ASKED = {"prompt": "ROMEO:", "max_tokens": TOKENS, "temperature": 1}


@pytest.fixture(scope="module")
def config(image: Image) -> ChipConfig:
    return simulated_config(sized_for(image, ChipConfig(rows=16, terminal=0, contexts=2)))


@pytest.fixture(scope="module")
def chip(image: Image, config: ChipConfig) -> Iterator[Served]:
    with served(image, opening.simulated(image, config)) as server:
        yield server


def ask(server: Served, seed: int, **more: Any) -> httpx.Response:
    return post(server, {**ASKED, "seed": seed, **more})


def together(server: Served, seeds: range, **more: Any) -> list[httpx.Response]:
    """Replies to requests that come at once."""
    replies: dict[int, httpx.Response] = {}

    def one(seed: int) -> None:
        replies[seed] = ask(server, seed, **more)

    threads = [threading.Thread(target=one, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [replies[seed] for seed in seeds]


def wanted(image: Image, seed: int) -> str:
    """The text of the answer to `ask`."""
    return said(image, "ROMEO:", TOKENS, seed=seed, temperature=1.0)


def text_of(reply: httpx.Response) -> str:
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"][0]["text"])


def test_answers_are_those_of_the_golden_model(chip: Served, image: Image) -> None:
    replies = together(chip, range(4))
    for seed, reply in enumerate(replies):
        assert text_of(reply) == wanted(image, seed)


def test_a_conversation_goes_on_in_its_context(chip: Served, image: Image) -> None:
    prompt, cached = "JULIET:\n", 0
    for turn in range(3):
        found = post(chip, {**ASKED, "prompt": prompt, "seed": turn}).json()
        text = found["choices"][0]["text"]
        assert text == said(image, prompt, TOKENS, seed=turn, temperature=1.0)
        assert found["usage"]["prompt_tokens_details"]["cached_tokens"] == cached
        ask(chip, turn)  # another conversation takes the other context
        prompt += text
        cached = len(prompt)
        prompt += "\n\nROMEO:\n" if turn else ""  # nothing need be added


def test_metrics_agree_with_the_chips_counters(chip: Served) -> None:
    ask(chip, 1)
    chip.idle()
    (board,) = chip.boards
    assert isinstance(board.engine, ChipEngine)
    told = figures(chip)
    counters = board.engine.counters()  # nobody else uses the link while nothing works
    for name, value in counters.items():
        assert told[f'chip_total{{board="sim",counter="{name}"}}'] == value
    assert told['tokens_total{kind="completion"}'] == counters["heads"]
    fed = told['tokens_total{kind="prompt"}'] + told['tokens_total{kind="completion"}']
    assert fed == counters["bodies"]
    with chip.client() as client:
        status = client.get("/chip").json()["boards"][0]
    assert status["counters"] == counters and status["chip"]["macs"] == 512
    assert 0 < status["cycles_per_token"] < 10_000 and 0 < status["units"]["array"] < 1


def figures(server: Served) -> dict[str, float]:
    """What /metrics says, by name and labels."""
    with server.client() as client:
        lines = client.get("/metrics").text.splitlines()
    rows = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name.removeprefix("setun_"): float(value) for name, _, value in rows}


def test_clients_that_leave_end_their_answers(chip: Served, image: Image) -> None:
    (board,) = chip.boards
    before = board.counters["heads"]
    with chip.client() as client:
        asked = {**ASKED, "max_tokens": 1000, "stream": True}
        with client.stream("POST", "/v1/completions", json=asked) as reply:
            next(reply.iter_lines())
        for body in ({**ASKED, "max_tokens": 1000}, {**ASKED, "prompt": "a" * 3000}):
            with contextlib.suppress(httpx.ReadTimeout):
                client.post("/v1/completions", json=body, timeout=0.3)
    chip.idle()
    assert board.counters["heads"] - before < 500
    assert text_of(ask(chip, 3)) == wanted(image, 3)


def test_a_stop_sequence_ends_the_chips_generation(chip: Served, image: Image) -> None:
    whole = said(image, "ROMEO:", TOKENS)
    (board,) = chip.boards
    before = board.counters["heads"]
    reply = ask(chip, 0, temperature=0, max_tokens=1000, stop=whole[8:11])
    assert text_of(reply) == whole[: whole.index(whole[8:11])]
    chip.idle()
    assert board.counters["heads"] - before < 200
    assert text_of(ask(chip, 0, temperature=0)) == whole


def test_a_killed_chip_comes_back(image: Image, config: ChipConfig) -> None:
    with served(image, opening.simulated(image, config), verify=True) as server:
        (board,) = server.boards
        engine = board.engine
        asked = {**ASKED, "max_tokens": 1000, "stream": True}
        with server.client() as client:
            with client.stream("POST", "/v1/completions", json=asked) as reply:
                assert reply.headers["x-setun-verified"] == "golden"
                read = reply.iter_raw()
                data = next(read)
                waiting = threading.Thread(target=ask, args=(server, 1))
                waiting.start()
                assert isinstance(engine, ChipEngine)
                os.kill(engine._backend.chip.pid, signal.SIGKILL)  # type: ignore[union-attr]
                last = events(data + b"".join(read))[-1]
            assert last["error"]["code"] == "chip_unavailable", last
            waiting.join()
            until = time.monotonic() + 30
            while client.get("/health").status_code != 200:
                assert time.monotonic() < until
                time.sleep(0.05)
            assert text_of(ask(server, 2)) == wanted(image, 2)
            assert figures(server)['board_losses_total{board="sim"}'] == 1


class Socketed:
    """A port that a chip can be plugged into, and pulled from."""

    def __init__(self, path: Path, image: Image, config: ChipConfig) -> None:
        self.path = path
        contents = system_contents(config, lay_out(image, config))
        self._files = {name: memory_file(c.words, c.width) for name, c in contents.items()}
        self._executable = compile_chip(blank_verilog(config), TOP, config.divisor)
        self._chip: SimulatedChip | None = None

    def plug(self) -> None:
        self._chip = SimulatedChip(self._executable, memories=self._files)
        self.path.symlink_to(self._chip.port)

    def pull(self) -> None:
        self.path.unlink(missing_ok=True)
        if self._chip is not None:
            self._chip.close()


def test_a_pool_of_boards(image: Image, config: ChipConfig, tmp_path: Path) -> None:
    ports = [Socketed(tmp_path / f"tty{k}", image, config) for k in range(2)]
    ports[0].plug()
    try:
        openers = opening.serial(image, [str(p.path) for p in ports], [config.baud], str)
        with served(image, openers) as server:
            with server.client() as client:
                assert client.get("/health").json() == {"status": "degraded"}
                ports[1].plug()
                wait_for(client, "ok")
                for seed, reply in enumerate(together(server, range(4))):
                    expected = wanted(image, seed)
                    assert text_of(reply) == expected
                assert all(board.pace.tokens for board in server.boards)
                ports[0].pull()  # nothing works on it: found all the same
                wait_for(client, "degraded")
                assert text_of(ask(server, 1)) == wanted(image, 1)
                ports[1].pull()
                wait_for(client, "unavailable")
                refused = ask(server, 1)
                assert refused.status_code == 503 and "no chip is there" in refused.text
                ports[0].plug()
                wait_for(client, "degraded")
                assert text_of(ask(server, 2)) == wanted(image, 2)
    finally:
        for port in ports:
            port.pull()


def wait_for(client: httpx.Client, state: str) -> None:
    until = time.monotonic() + 30
    while client.get("/health").json() != {"status": state}:
        assert time.monotonic() < until, state
        time.sleep(0.05)
