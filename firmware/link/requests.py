"""Commands and their answers: what a chip refuses, and how long it may stay busy."""

import time
from collections.abc import Iterator

from setun.firmware.errors import SetunError
from setun.firmware.link.messages import CONTEXT, Command, Status
from setun.firmware.link.port import Port
from setun.firmware.link.transport import Transport

BUSY_PAUSE = 0.002


class Requests:
    """One command after the other, or several under way, each answered or an error.

    Parameters, `transport` and errors are those of `setun.firmware.link.client.ChipClient`.
    """

    def __init__(self, port: Port, timeout: float, retries: int, patience: float) -> None:
        self.transport = Transport(port, timeout, retries)
        self._timeout = timeout
        self._patience = patience

    def _try(self, command: int, payload: bytes = b"") -> tuple[int, bytes]:
        (answer,) = self.transport.exchange([(command, payload)])
        return answer[1], answer[2]

    def _command(self, command: int, payload: bytes = b"") -> bytes:
        deadline = time.monotonic() + self._patience
        while True:
            status, data = self._try(command, payload)
            if status != Status.BUSY:
                check_status(command, status)
                return data
            self._still_busy(command, deadline)

    def _pipeline(
        self, requests: Iterator[tuple[Command, bytes]], window: int
    ) -> Iterator[tuple[int, bytes]]:
        """Exchange; requests that found the chip busy are tried again, one by one."""
        sent: dict[int, tuple[Command, bytes]] = {}

        def remembered() -> Iterator[tuple[Command, bytes]]:
            for index, request in enumerate(requests):
                sent[index] = request
                yield request

        for index, status, data in self.transport.exchange(remembered(), window):
            command, payload = sent.pop(index)
            if status == Status.BUSY:
                sent[index] = command, payload
                continue
            check_status(command, status)
            yield index, data
        for index, (command, payload) in sent.items():
            yield index, self._command(command, payload)

    def _still_busy(self, command: int, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise SetunError(
                f"{_name(command)} command",
                f"a chip that is free within {self._patience:g} s",
                "busy",
                "stop the running generation first",
            )
        self.transport.pump(BUSY_PAUSE)


def _name(command: int) -> str:
    return Command(command & ~CONTEXT).name


class BadArgument(SetunError):
    """The chip does not know such a payload."""


def check_status(command: int, status: int) -> bool:
    """True; refuses any other status than OK."""
    if status != Status.OK:
        known = status in list(Status)
        kind = BadArgument if status == Status.BAD_ARGUMENT else SetunError
        raise kind(
            f"{_name(command)} command",
            "accepted by the chip",
            Status(status).name.lower().replace("_", " ") if known else f"status {status}",
            "check that bitstream and host are of one version",
        )
    return True


def sized(command: Command, data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise SetunError(f"{command.name} reply", f"{size} bytes of data", len(data))
    return data
