"""A client that goes away ends its generation within one token, counted by the chip itself."""

import socket
from collections.abc import Iterator

import pytest

from front.serve.serving import Served, served
from front.serve.test_chip import figures
from front.serve.test_limits import raw, slow
from setun.backends.simulated import simulated_config
from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import sized_for
from setun.serve import opening

pytestmark = pytest.mark.many_cycles
ASKED = {"prompt": "ROMEO:", "max_tokens": 1000, "stream": True, "seed": 1}
TIMES = 6


@pytest.fixture(scope="module", params=["sim", "golden"])
def server(request: pytest.FixtureRequest, image: Image) -> Iterator[Served]:
    # A small array: a token takes longer than to hear that nobody is there.
    small = ChipConfig(columns=8, rows=4, lanes=4, terminal=0, contexts=2)
    config = simulated_config(sized_for(image, small))
    simulated = request.param == "sim"
    with served(image, opening.simulated(image, config) if simulated else slow(image)) as server:
        yield server


def made(server: Served) -> float:
    """Tokens sampled so far: the chip's own count, where there is a chip."""
    told = figures(server)
    heads = [value for name, value in told.items() if 'counter="heads"' in name]
    return heads[0] if heads else told['tokens_total{kind="completion"}']


def read(sock: socket.socket, least: int) -> int:
    """Pieces of an answer that have come, once there are `least`."""
    data = b""
    while (found := data.count(b"data: ")) < least:
        part = sock.recv(1 << 16)
        assert part
        data += part
    return found


def test_the_generation_ends(server: Served) -> None:
    more = []
    for least in range(1, TIMES + 1):
        before = made(server)
        with raw(server, ASKED) as sock:
            received = read(sock, least)
        server.idle()
        more.append(made(server) - before - received)
    # The one that was being made; a second, where it ended before the server heard of it.
    assert max(more) <= 2 and sum(more) <= TIMES, more
