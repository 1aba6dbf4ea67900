"""A chip on a serial port that has said what it is."""

from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import replace

from setun.backends.base import Sampling, check_context
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.link import identity
from setun.firmware.link.client import ChipClient
from setun.firmware.link.messages import Reason
from setun.firmware.link.port import OpenPort, PortGone, open_port
from setun.firmware.numerics import functions

PROBE_SECONDS, PROBE_REPEATS = 0.5, 2  # of a bit rate that may be another
BIGGEST_RUN = 0xFFFF  # tokens of one GENERATE command


class ConnectedChip:
    """The chip behind `port`; connecting changes nothing in its memories.

    What a host that went away left under way is stopped.

    Parameters
    ----------
    port, baud
        Serial port and its bit rate, or the rates to try.
    patience
        Seconds, of the client.

    Members
    -------
    client
        Its link.
    config
        What it was built from, as it reports.

    Raises
    ------
    PortGone
        There is no such port.
    SetunError
        The port cannot be opened; nothing answers; the chip is of another release.
    """

    def __init__(self, port: str, baud: int | Sequence[int], *, patience: float = 60.0) -> None:
        self.port = port
        rates = [baud] if isinstance(baud, int) else list(baud)
        self._serial = open_port(port, rates[0])
        try:
            for rate in rates[:-1]:
                if _answers_at(self._serial, rate):
                    break
            else:
                self._serial.baudrate = rates[-1]
            self.client = ChipClient(self._serial, patience=patience)
            self.config: ChipConfig = identity.decode(self.client.info())
            self.client.token_bits = self.config.token_bits
            for context in range(self.config.contexts):
                self.client.stop(context)
        except BaseException:
            self._serial.close()
            raise

    def generate(
        self,
        count: int,
        sampling: Sampling,
        context: int = 0,
        waiting: Callable[[], None] = lambda: None,
        ends: Sequence[int] = (),
    ) -> Iterator[int]:
        """Begin a generation at once; the tokens as they come. `waiting` as in `ChipClient`.

        A token of `ends` is the last one; the client's `last_done` says so. The chip ends there
        itself, but for tokens that its core has no place for.
        """
        check_count(count)
        check_context(context, self.config.contexts)
        inverse = sampling.inverse_temperature
        bits = 0 if inverse is None else int(self.config.vector.to_bits(inverse)[0])
        seed = functions.seed_state(sampling.seed)
        places = self.config.core.ends
        told = [*ends, *places * list(ends[-1:])][:places]
        tokens = self.client.generate(count, inverse is None, bits, seed, context, waiting, told)
        known = told if self.client.knows_ends else ()
        return self._whole(tokens, context, frozenset(ends).difference(known))

    def _whole(self, tokens: Iterator[int], context: int, ends: Set[int]) -> Iterator[int]:
        finished = False
        try:
            for number, token in enumerate(tokens, 1):
                yield token
                if token in ends:
                    self._end(tokens, number, context)
            finished = True
        finally:
            if not finished:
                # The consumer left or the port is gone: the chip should not talk to nobody.
                with suppress(SetunError):
                    self.client.stop(context)

    def _end(self, tokens: Iterator[int], number: int, context: int) -> None:
        """Stop the chip behind token `number`; what it has sampled since is passed over."""
        self.client.stop(context)
        for _ in tokens:
            pass
        done = self.client.last_done
        if done is not None and done.reason in (Reason.STOPPED, Reason.COUNT):
            self.client.last_done = replace(done, reason=Reason.END_OF_TEXT, tokens=number)

    def close(self) -> None:
        """Release the port."""
        self._serial.close()


def answers(port: str, rates: Sequence[int]) -> bool:
    """Whether a chip is behind `port` at one of the rates; changes nothing in it."""
    try:
        with open_port(port, rates[0]) as opened:
            return any(_answers_at(opened, rate) for rate in rates)
    except SetunError:
        return False


def _answers_at(opened: OpenPort, rate: int) -> bool:
    opened.baudrate = rate
    try:
        ChipClient(opened, timeout=PROBE_SECONDS, retries=PROBE_REPEATS).info()
    except PortGone:
        raise
    except SetunError:
        return False
    return True


def check_count(count: int) -> None:
    """Refuse a number of tokens that no GENERATE command has."""
    if not 1 <= count <= BIGGEST_RUN:
        raise SetunError("token count", f"must be from 1 to {BIGGEST_RUN}", count)
