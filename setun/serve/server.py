"""The server: a socket, an event loop, and an end without loose ends."""

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from setun.firmware.errors import SetunError
from setun.serve.board import Board
from setun.serve.opening import close_boards
from setun.serve.pool import Pool

GRACE_SECONDS = 3  # for replies under way to tell that the server closes
MOST_CONNECTIONS = 1000
LOCAL = ("127.0.0.1", "localhost", "::1")
SHORTEST_TOKEN = 16


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 for any that is free.

    Raises
    ------
    SetunError
        There is no such address, or another program has it.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, proto)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(128)
        except BaseException:
            sock.close()
            raise
    except (OSError, UnicodeError) as error:
        unknown = isinstance(error, socket.gaierror | UnicodeError)
        why = str(error) if unknown else str(error.args[-1])
        fix = "--listen 0 takes any free port"
        raise SetunError(f"--host {host} --listen {port}", "must be free", why, fix) from None
    return sock


def url_of(sock: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = sock.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def read_token(path: Path) -> str:
    """The bearer token in a file, without the white space around it.

    Raises
    ------
    SetunError
        It cannot be read, or is too short to be a secret.
    """
    try:
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "other than ASCII"
        raise SetunError(f"--token {path}", "must be a text file", why) from None
    if len(token) < SHORTEST_TOKEN or not token.isprintable() or " " in token:
        rule = f"must hold one word of at least {SHORTEST_TOKEN} characters"
        fix = "python -c 'import secrets; print(secrets.token_urlsafe())' makes one"
        raise SetunError(f"--token {path}", rule, f"{len(token)} characters", fix)
    return token


class Server(uvicorn.Server):
    """Serves `app`; ends all answers before it waits for replies to end.

    Parameters
    ----------
    app
        An ASGI application.
    pool, boards
        What it asks; closed when the server ends.
    """

    def __init__(self, app: ASGIApp, pool: Pool, boards: Sequence[Board]) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(config)
        self._pool, self._boards = pool, boards

    def serve_on(self, sock: socket.socket) -> None:
        """Serve until `stop`, or a signal; then what the signal does is done."""
        try:
            for board in self._boards:
                board.start()
            self.run(sockets=[sock])
        finally:
            close_boards(self._boards, self._pool)

    def stop(self) -> None:
        """End soon; any thread, or a signal handler."""
        # A handler may interrupt code that holds the pool's lock.
        self._loop.call_soon_threadsafe(self._pool.close)
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if hasattr(self, "_loop"):
            self.stop()
        super().handle_exit(sig, frame)
