"""What is refused, what waits, what is given up: on real connections."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from front.serve.serving import Served, said, served
from front.serve.test_api import ASKED, events, post
from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import Numerics
from setun.models.load import load_model
from setun.serve.engine import Event
from setun.serve.golden import GoldenEngine
from setun.serve.opening import open_boards
from setun.serve.pool import Pool
from setun.serve.service import Limits

LONG = {**ASKED, "max_tokens": 4000, "stream": True}


class Slow(GoldenEngine):
    """The golden model, 20 ms a token."""

    def poll(self, wait: float) -> Iterator[Event]:
        time.sleep(0.02)
        yield from super().poll(wait)


def slow(image: Image, contexts: int = 1) -> dict[str, Any]:
    return {"slow": lambda: Slow(image, Numerics(), contexts)}


def connected(server: Served) -> socket.socket:
    place = urlsplit(server.url)
    return socket.create_connection((place.hostname, place.port), timeout=30)


def raw(server: Served, body: Any, **headers: str) -> socket.socket:
    """A connection on which a completion was asked for, byte by byte ours."""
    sock = connected(server)
    data = json.dumps(body).encode()
    lines = {"host": "localhost", "content-length": str(len(data)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    sock.sendall(f"POST /v1/completions HTTP/1.1\r\n{head}\r\n".encode() + data)
    return sock


def test_full_queue_and_its_order(image: Image) -> None:
    limits = Limits(queue=2, tokens=5000)
    with served(image, slow(image), limits=limits) as server, server.client() as client:
        ended: list[int] = []

        def one(number: int) -> None:
            assert post(server, {**ASKED, "seed": number}).status_code == 200
            ended.append(number)

        with client.stream("POST", "/v1/completions", json=LONG) as reply:
            lines = reply.iter_lines()  # kept: a reader that is dropped closes the reply
            next(lines)
            threads = [threading.Thread(target=one, args=(number,)) for number in range(2)]
            for number, thread in enumerate(threads, 1):
                thread.start()
                while server.pool.waiting < number:
                    time.sleep(0.01)
            refused = post(server, ASKED)
            assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
            assert refused.json()["error"]["code"] == "queue_full"
            assert post(server, {**ASKED, "n": 4}).status_code == 429
        for thread in threads:
            thread.join()
        assert ended == [0, 1]


def test_keep_alive_while_an_answer_waits(image: Image) -> None:
    limits = Limits(silence=0.05, tokens=5000)
    with served(image, slow(image), limits=limits) as server, server.client() as client:
        with client.stream("POST", "/v1/completions", json=LONG) as first:
            next(first.iter_lines())
            with client.stream("POST", "/v1/completions", json={**ASKED, "stream": True}) as other:
                data = other.iter_raw()
                assert next(data).startswith(b": keep-alive\n\n")
                first.close()
                assert events(b"".join(data))[-1] == "[DONE]"


def test_clients_that_vanish(image: Image) -> None:
    with served(image, slow(image), limits=Limits(tokens=5000)) as server:
        for body in (LONG, {**LONG, "stream": False}):
            with raw(server, body) as running, raw(server, body):
                until = time.monotonic() + 10
                while not (server.pool.working and server.pool.waiting):
                    assert time.monotonic() < until
                    time.sleep(0.01)
                # The running one says nothing, and breaks off hard.
                running.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            server.idle(5)
        assert server.pool.tally.of("answers") == {"cancelled": 4}


def test_clients_that_read_slowly_hold_nobody_up(golden: Served, image: Image) -> None:
    asked = {**ASKED, "max_tokens": 300, "stream": True}
    with raw(golden, asked) as sock:
        assert post(golden, ASKED).json()["choices"][0]["text"] == said(image, "ROMEO:", 12)
        golden.idle()  # though not a byte was read
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            data += sock.recv(100)
    assert data.count(b"data: ") == 302


def test_bodies_that_do_not_come(image: Image) -> None:
    with served(image, limits=Limits(body_seconds=0.2)) as server:
        with connected(server) as sock:
            head = "POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{"
            sock.sendall(head.encode())
            assert b" 408 " in sock.recv(100)
        with connected(server) as sock:
            sock.sendall(head.encode())
        assert post(server, ASKED).status_code == 200


def test_verify(golden: Served, image: Image) -> None:
    with served(image, verify=True) as server:
        reply = post(server, {**ASKED, "setun": {"details": True}, "stream": True})
        assert reply.headers["x-setun-verified"] == "golden"
        told = [chunk["setun"] for chunk in events(reply.content)[:-2]]
        assert len(told) == 12 and all(each["golden"] is True for each in told)
        assert post(server, ASKED).headers["x-setun-verified"] == "golden"
    plain = post(golden, {**ASKED, "setun": {"details": True}, "stream": True})
    assert "x-setun-verified" not in plain.headers
    assert all(c["setun"]["golden"] is None for c in events(plain.content)[:-2])
    asked = post(golden, {**ASKED, "setun": {"verify": True}})
    assert asked.headers["x-setun-verified"] == "golden"


class Wrong(GoldenEngine):
    """A chip whose fifth token is another."""

    made = 0

    def poll(self, wait: float) -> Iterator[Event]:
        for context, event in super().poll(wait):
            self.made += isinstance(event, int)
            flipped = isinstance(event, int) and self.made == 5
            yield context, event ^ 1 if flipped and isinstance(event, int) else event


def test_a_token_that_is_not_the_golden_models(image: Image) -> None:
    wrong = {"wrong": lambda: Wrong(image, Numerics(), 1)}
    with served(image, wrong, verify=True) as server:
        *pieces, last = events(post(server, {**ASKED, "stream": True}).content)
        text = "".join(piece["choices"][0]["text"] for piece in pieces)
        assert text == said(image, "ROMEO:", 12)[:4]
        assert "must equal the golden model's" in last["error"]["message"]
        assert post(server, ASKED).status_code == 200  # the next is right
        with server.client() as client:
            assert "setun_mismatches_total 1\n" in client.get("/metrics").text


class Counting(GoldenEngine):
    """Counts tokens as a chip does, from its power-on."""

    fed = 0

    def feed(self, tokens: Any, context: int) -> int:
        taken = super().feed(tokens, context)
        self.fed += taken
        return taken

    def poll(self, wait: float) -> Iterator[Event]:
        for context, event in super().poll(wait):
            self.fed += isinstance(event, int)
            yield context, event

    def counters(self) -> dict[str, int]:
        return {"bodies": self.fed}


def test_a_chip_that_was_reset_is_not_gone_on_with(image: Image) -> None:
    engines: list[Counting] = []

    def opened() -> Counting:
        engines.append(Counting(image, Numerics(), 1))
        return engines[-1]

    with served(image, {"board": opened}) as server:
        text = post(server, ASKED).json()["choices"][0]["text"]
        for reset, cached in ((False, 18), (True, 0)):
            server.idle()
            time.sleep(0.6)  # it has rested
            engines[-1].fed *= not reset
            found = post(server, {**ASKED, "prompt": f"ROMEO:{text}"}).json()
            more = found["choices"][0]["text"]
            assert more == said(image, f"ROMEO:{text}", 12)
            assert found["usage"]["prompt_tokens_details"]["cached_tokens"] == cached
            text += more
        assert len(engines) == 2


def test_faults_of_an_engine_end_its_answers_alone(
    image: Image, capfd: pytest.CaptureFixture[str]
) -> None:
    class Faulty(GoldenEngine):
        def feed(self, tokens: Any, context: int) -> int:
            raise ZeroDivisionError("a fault")

    opened = iter([Faulty(image, Numerics(), 1), *(Faulty(image, Numerics(), 1),) * 3])

    def engine() -> GoldenEngine:
        return next(opened, GoldenEngine(image, Numerics(), 1))

    with served(image, {"faulty": engine}) as server:
        refused = post(server, ASKED)
        assert refused.status_code == 503
        assert refused.json()["error"]["message"] == "internal error"
        until = time.monotonic() + 10
        while post(server, ASKED).status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.1)
    error = capfd.readouterr().err
    assert "board faulty: ZeroDivisionError: a fault" in error and "Traceback" not in error


def test_tokens_hosts_and_origins(image: Image) -> None:
    site = "https://chat.example"
    hosts = frozenset({"localhost", "127.0.0.1", "[::1]"})
    with served(image, hosts=hosts, origins=[site]) as server, server.client() as client:
        for host, status in (
            ("evil.example", 403),
            ("evil.example:8080", 403),
            ("LOCALHOST:1", 200),
            ("[::1]:8080", 200),
            ("127.0.0.1", 200),
        ):
            assert client.get("/v1/models", headers={"host": host}).status_code == status
        asks = {"access-control-request-method": "POST", "origin": site}
        for origin, allowed in ((site, site), ("https://evil.example", None)):
            reply = client.options("/v1/completions", headers={**asks, "origin": origin})
            assert reply.headers.get("access-control-allow-origin") == allowed
    with served(image, token="a secret") as server, server.client() as client:
        right = {"authorization": "bearer a secret"}
        for path in ("/v1/models", "/metrics", "/chip", "/nothing"):
            assert client.get(path).status_code == 401
        assert client.get("/v1/models", headers=right).status_code == 200
        for path in ("/", "/health"):
            assert client.get(path).status_code == 200
        assert 'setun_errors_total{status="401"} 4' in client.get("/metrics", headers=right).text
        assert (
            "access-control-allow-origin" not in client.get("/", headers={"origin": site}).headers
        )


def test_unknown_headers_and_broken_http(golden: Served) -> None:
    for data in (b"\0\1\2\3\r\n\r\n", b"GET\r\n\r\n", b"POST /v1/completions\r\n\r\n"):
        with connected(golden) as sock:
            sock.sendall(data)
            assert b" 400 " in sock.recv(1000).splitlines()[0]
    assert post(golden, ASKED).status_code == 200


def test_a_model_without_text(image: Image) -> None:
    plain = load_model("random-64x2")
    assert plain.tokenizer_json is None
    with served(plain) as server:
        made = post(server, {"prompt": [1, 2], "max_tokens": 3, "temperature": 0}).json()
        assert len(made["choices"][0]["text"].split()) == 3
        for path, body in (
            ("completions", {"prompt": "a"}),
            ("chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
        ):
            refused = post(server, body, path)
            assert refused.status_code == 400 and "no tokenizer" in refused.text


def test_boards_that_cannot_be_opened_leave_nothing_open(image: Image) -> None:
    closed = []

    class Closing(GoldenEngine):
        def close(self) -> None:
            closed.append(self)

    def refuse() -> GoldenEngine:
        raise SetunError("board", "must answer")

    with pytest.raises(SetunError, match="must answer"):
        open_boards(image, {"a": lambda: Closing(image, Numerics(), 1), "b": refuse}, Pool(1))
    assert len(closed) == 1
    other = Numerics(vector=Format(8, 7))
    openers = {
        "a": lambda: Closing(image, Numerics(), 1),
        "b": lambda: Closing(image, other, 1),
    }
    with pytest.raises(SetunError, match="must compute as the other boards do"):
        open_boards(image, openers, Pool(1))
    assert len(closed) == 3


def test_replies_stay_whole_through_a_proxy_that_splits_them(golden: Served) -> None:
    with golden.client() as client, client.stream("POST", "/v1/completions", json=LONG) as refused:
        assert refused.status_code == 400
    asked = {**ASKED, "stream": True}
    with httpx.Client(base_url=golden.url) as client:
        with client.stream("POST", "/v1/completions", json=asked) as reply:
            data = b"".join(reply.iter_raw(chunk_size=1))
    assert events(data)[-1] == "[DONE]"
