"""A server on loopback, in a thread, and what it must answer."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from setun.backends import GoldenBackend, Sampling
from setun.firmware.image.image import Image
from setun.firmware.models.tokenizer import Tokenizer
from setun.firmware.numerics.options import Numerics
from setun.serve import opening
from setun.serve.app import application
from setun.serve.board import Board
from setun.serve.opening import Openers, open_boards
from setun.serve.pool import Pool
from setun.serve.server import Server, listening, url_of
from setun.serve.service import Limits, Service

SECONDS = 60.0


@dataclass
class Served:
    """A running server."""

    url: str
    image: Image
    pool: Pool
    boards: list[Board]

    def client(self, **options: Any) -> httpx.Client:
        """A client of its own."""
        return httpx.Client(base_url=self.url, timeout=SECONDS, **options)

    def idle(self, seconds: float = 10.0) -> None:
        """Wait until no context works and nothing waits."""
        until = time.monotonic() + seconds
        while self.pool.working or self.pool.waiting:
            assert time.monotonic() < until, "a context works for nobody"
            time.sleep(0.01)


@contextlib.contextmanager
def served(
    image: Image,
    openers: Openers | None = None,
    *,
    contexts: int = 2,
    limits: Limits | None = None,
    verify: bool = False,
    **options: Any,
) -> Iterator[Served]:
    """Serve `image` on a free port; the golden model unless `openers` say what."""
    limits = limits or Limits()
    pool = Pool(limits.queue)
    openers = openers or opening.golden(image, Numerics(), contexts)
    boards = open_boards(image, openers, pool)
    service = Service(image, pool, boards, limits, verify=verify)
    with listening("127.0.0.1", 0) as sock:
        server = Server(application(service, **options), pool, boards)
        thread = threading.Thread(target=server.serve_on, args=(sock,))
        thread.start()
        url = url_of(sock)
        try:
            with httpx.Client(base_url=url, timeout=SECONDS) as client:
                client.get("/health").raise_for_status()
            yield Served(url, image, pool, boards)
        finally:
            server.stop()
            thread.join(SECONDS)
            assert not thread.is_alive()


def said(image: Image, prompt: str, count: int, **sampling: Any) -> str:
    """What the golden model goes on with."""
    assert image.tokenizer_json is not None
    tokenizer = Tokenizer.from_json(image.tokenizer_json, image.vocab_size)
    backend = GoldenBackend(image, Numerics())
    ids = tokenizer.encode(prompt)
    made = list(backend.generate(ids, count, Sampling(**sampling)))
    return tokenizer.decode([*ids, *made])[len(tokenizer.decode(ids)) :]
