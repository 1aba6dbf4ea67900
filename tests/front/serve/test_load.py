"""Many clients at once on a chip of four contexts with its weights outside."""

import random
import threading
import time
from collections.abc import Callable

import httpx
import pytest

from front.serve.serving import Served, said, served
from setun.backends.simulated import simulated_config
from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import sized_for
from setun.serve import opening

CLIENTS, SECONDS = 32, 300.0
ALONE = 4  # answers
CASES = [(prompt, seed) for seed, prompt in enumerate(["ROMEO:", "JULIET:", "To be", "KING"] * 4)]


def answer(client: httpx.Client, case: tuple[str, int], tokens: int) -> str:
    prompt, seed = case
    asked = {"prompt": prompt, "seed": seed, "max_tokens": tokens, "temperature": 0.8}
    reply = client.post("/v1/completions", json=asked, timeout=None)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"][0]["text"])


def cycles_per_token(server: Served, work: Callable[[], None]) -> float:
    """Of the chip while `work` is done; a simulation's seconds tell of its machine alone."""
    (board,) = server.boards
    before = dict(board.counters)
    work()
    server.idle()
    spent = {name: value - before.get(name, 0) for name, value in board.counters.items()}
    return spent["cycles"] / spent["heads"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("memory", ["sdram-32", "axi4-64"])
def test_many_clients(image: Image, memory: str) -> None:
    """None is lost, each gets what it would get alone, and they share passes."""
    tokens = 120
    config = ChipConfig(rows=16, terminal=0, contexts=4, memory=memory)
    config = simulated_config(sized_for(image, config))
    wanted = {c: said(image, c[0], tokens, seed=c[1], temperature=0.8) for c in CASES}
    with served(image, opening.simulated(image, config)) as server:
        right: list[bool] = []

        def one(number: int) -> None:
            chosen = random.Random(number)
            with server.client() as client:
                while True:
                    case = chosen.choice(CASES)
                    right.append(answer(client, case, tokens) == wanted[case])
                    if time.monotonic() > until:
                        return

        def alone() -> None:
            with server.client() as client:
                for case in CASES[:ALONE]:
                    right.append(answer(client, case, tokens) == wanted[case])

        def together() -> None:
            threads = [threading.Thread(target=one, args=(number,)) for number in range(CLIENTS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        single = cycles_per_token(server, alone)
        until = time.monotonic() + SECONDS
        shared = cycles_per_token(server, together)
        assert all(right) and len(right) >= ALONE + CLIENTS
        assert server.pool.tally.of("answers") == {"length": len(right)}
    print(f"{len(right)} answers, {single:.0f} and {shared:.0f} cycles a token")
    assert single / shared >= 3.5
