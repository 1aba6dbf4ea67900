"""The boards of a server: how each is opened, and the first opening of all."""

from collections.abc import Callable, Sequence
from functools import partial

from setun.backends import SerialBackend, SimulatedBackend
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.link.port import PortGone
from setun.firmware.numerics.options import Numerics
from setun.serve.board import Board
from setun.serve.chip import ChipEngine
from setun.serve.engine import Engine
from setun.serve.golden import GoldenEngine
from setun.serve.pool import Pool
from setun.streams import tell

Openers = dict[str, Callable[[], Engine]]
"""What opens an engine, by its name for people."""


def golden(image: Image, numerics: Numerics, contexts: int) -> Openers:
    """The golden model."""
    return {"golden": lambda: GoldenEngine(image, numerics, contexts)}


def simulated(
    image: Image, config: ChipConfig, progress: Callable[[str], None] = lambda stage: None
) -> Openers:
    """A simulated chip."""
    return {"sim": lambda: ChipEngine(image, SimulatedBackend(image, config, progress=progress))}


def serial(
    image: Image, ports: Sequence[str], rates: Sequence[int], found: Callable[[], str]
) -> Openers:
    """Chips on serial ports; one that holds another model is loaded.

    Without `ports` it is one on the port that `found` gives, anew each time that it is opened: a
    board that is plugged in again may get another.
    """

    def opener(port: Callable[[], str]) -> Callable[[], Engine]:
        return lambda: ChipEngine(image, SerialBackend(image, port(), rates))

    named = {port: opener(partial(str, port)) for port in ports}
    return named or {"board": opener(found)}


def open_boards(image: Image, openers: Openers, pool: Pool) -> list[Board]:
    """The boards of `pool`, open; one of several that is not plugged in is waited for.

    Raises
    ------
    SetunError
        One is refused, or none is there. None is left open.
    """
    boards = [Board(name, opened, image, pool) for name, opened in openers.items()]
    pool.places.extend(boards)
    absent: SetunError | None = None
    try:
        for board in boards:
            try:
                board.open()
            except PortGone as gone:
                absent = gone
                board.error = str(gone)
                if len(boards) > 1:
                    tell(f"setun: {gone}; waiting for it")
        if absent is not None and not any(board.up for board in boards):
            raise absent
    except BaseException:
        close_boards(boards, pool)
        raise
    return boards


def close_boards(boards: Sequence[Board], pool: Pool, seconds: float = 5.0) -> None:
    """End everything that the boards do, and release them."""
    pool.close()
    for board in boards:
        board.close(seconds)
