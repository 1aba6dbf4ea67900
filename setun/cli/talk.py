"""A conversation shown in a terminal: Ctrl-C stops an answer, an unplugged board is waited for."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

import click

from setun.backends.base import Sampling
from setun.backends.connect import ConnectedChip
from setun.cli.common import stages
from setun.cli.streaming import summary
from setun.firmware.errors import SetunError
from setun.firmware.link.port import PortGone
from setun.talk.conversation import Conversation
from setun.talk.pairing import model_on
from setun.talk.ports import find_port, usual_rates
from setun.talk.session import Result

RETRY_SECONDS = 0.3
SETTLE_SECONDS = 10.0  # from a port's return until its chip answers: permissions, configuration


@contextmanager
def interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C calls `stop`; a second one interrupts as usual."""

    def first(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Talk:
    """A conversation that outlives its port.

    Parameters
    ----------
    port, baud
        None to find them.
    model
        The model on the chip; None for any shipped one.
    context
        Conversation of the chip.
    quiet
        Collect answers and show nothing.
    waits
        Wait for a port that is gone, and at Ctrl-C give the prompt back; else both end it.
    chat
        Lines are messages of a chat.

    Members
    -------
    results
        The answers so far, as `setun run --json` has them.
    """

    def __init__(
        self,
        port: str | None,
        baud: int | None,
        model: str | None,
        context: int,
        quiet: bool,
        *,
        waits: bool,
        chat: bool,
    ) -> None:
        self._chat = chat
        self._port, self._baud, self._model, self._context = port, baud, model, context
        self._quiet, self._waits = quiet, waits
        self.results: list[dict[str, Any]] = []
        self._begin(self._open())

    def answer(self, line: str, count: int, sampling: Sampling) -> None:
        """Show the chip's answer as it comes; asked again if the port was gone before it began."""
        seed = (sampling.seed + len(self.results)) % (1 << 32)
        own = replace(sampling, seed=seed)
        while True:
            result = Result()
            try:
                with interrupts(self._conversation.stop):
                    self._show(self._conversation.answer(line, count, own, result))
            except PortGone as gone:
                self._await(gone, begun=bool(result.tokens))
                if not result.tokens:
                    continue
            break
        self.results.append(result.to_dict())
        if not self._quiet:
            click.echo()
            click.echo(summary(result), err=True)
        if self._conversation.stopped and not self._waits:
            raise KeyboardInterrupt

    def restart(self) -> None:
        """Begin another conversation."""
        try:
            self._conversation.restart()
        except PortGone as gone:
            self._await(gone, begun=False)

    def close(self) -> None:
        """Release the port."""
        self._chip.close()

    def _show(self, answer: Iterator[str]) -> None:
        for text in answer:
            if not self._quiet:
                click.echo(text, nl=False)

    def _open(self) -> ConnectedChip:
        return ConnectedChip(self._port or find_port(self._baud), self._baud or usual_rates())

    def _begin(self, chip: ConnectedChip) -> None:
        self._chip = chip
        try:
            image = model_on(chip, self._model)
            self._conversation = Conversation(chip, image, self._context, self._chat)
        except BaseException:
            chip.close()
            raise

    def _await(self, gone: PortGone, *, begun: bool) -> None:
        """Wait for the board, and begin afresh: its state went with its power."""
        if not self._waits:
            raise gone
        name = self._chip.port
        self._chip.close()
        if begun:
            click.echo()
        click.echo(f"{name} is gone; plug it in again, or leave with Ctrl-C", err=True)
        with stages() as start:
            start(f"wait for {self._port or 'a board'}")
            chip = self._reopened()
        self._begin(chip)
        click.echo(f"{chip.port} is back; the conversation starts afresh", err=True)

    def _reopened(self) -> ConnectedChip:
        there: float | None = None
        while True:
            try:
                return self._open()
            except PortGone:
                there = None
            except SetunError:
                there = there or time.monotonic()
                if time.monotonic() - there > SETTLE_SECONDS:
                    raise
            time.sleep(RETRY_SECONDS)
