"""A chip on a serial port as a backend: identify, load what it lacks, run."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import numpy as np

from setun.backends.base import Sampling, check_context
from setun.firmware import functions, identity
from setun.firmware.compiler import Image
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.formats import Values
from setun.firmware.isa import WORDS
from setun.firmware.link.client import ChipClient
from setun.firmware.link.port import open_port
from setun.firmware.placement import Placement, Space, Words, place

Progress = Callable[[int, int], None]  # words written, words in all
BIGGEST_RUN = 0xFFFF  # tokens of one GENERATE command


def load(client: ChipClient, placement: Placement, progress: Progress = lambda n, of: None) -> None:
    """Write `placement` to the chip and verify it by CRC.

    The first instruction is blanked before and written last: a load cut short leaves a chip that
    refuses to run, not one that runs half a model. A flash that holds its words already is left
    as it is: erasing takes long and wears it.
    """
    client.write(Space.PROGRAM, 0, np.zeros(WORDS, np.uint32))
    order = [s for s in placement.spaces if s is not Space.PROGRAM]
    total, done = sum(len(words) for words in placement.spaces.values()), 0
    for space in order:
        words = placement.spaces[space]
        sector = placement.sector if space is Space.WEIGHTS else 0
        if not (sector and holds(client, space, words)):
            client.write(
                space, 0, words, lambda n, _, before=done: progress(before + n, total),  # type: ignore[misc]
                sector=sector,
            )  # fmt: skip
        verify(client, space, words)
        done += len(words)
    program = placement.spaces[Space.PROGRAM]
    client.write(Space.PROGRAM, WORDS, program[WORDS:])
    client.write(Space.PROGRAM, 0, program[:WORDS])
    verify(client, Space.PROGRAM, program)
    progress(total, total)


def checksum(words: Words) -> int:
    """CRC of memory contents, as the chip computes it."""
    return zlib.crc32(words.astype("<u4").tobytes())


def holds(client: ChipClient, space: Space, words: Words) -> bool:
    """Whether the chip's memory has the CRC of `words`."""
    return client.crc(space, 0, len(words)) == checksum(words)


def verify(client: ChipClient, space: Space, words: Words) -> None:
    """Refuse memory contents whose CRC, computed on the chip, is not that of `words`."""
    wanted, found = checksum(words), client.crc(space, 0, len(words))
    if found != wanted:
        raise SetunError(
            f"{space.name.lower()} memory", f"must read back with CRC {wanted:08x}",
            f"{found:08x}", "load again; lower the baud rate if it persists",
        )  # fmt: skip


class SerialBackend:
    """Runs `image` on the chip behind `port`, loading it first if another model is there.

    Weights outside block RAM are read through for that, unless they are known to be `placed`:
    the program may be a bitstream's, and they from before.

    `patience`, in seconds, is that of the client; `context` that of `generate`.

    Errors: no chip answers, the model does not fit it, or its number format differs from the one
    asked for.
    """

    def __init__(
        self,
        image: Image,
        port: str,
        *,
        baud: int = 1_000_000,
        patience: float = 60.0,
        context: int = 0,
        progress: Progress = lambda n, of: None,
        placed: bool = False,
    ) -> None:
        self._serial = open_port(port, baud)
        try:
            self.client = ChipClient(self._serial, patience=patience)
            self.config: ChipConfig = identity.decode(self.client.info())
            check_context(context, self.config.contexts)
            for each in range(self.config.contexts):
                self.client.stop(each)  # a host that went away may have left it talking
            placement = place(image, self.config)
            first = self.client.read(Space.PROGRAM, 0, WORDS)
            there = np.array_equal(first, placement.spaces[Space.PROGRAM][:WORDS])
            if there and self.config.external and not placed:
                there = holds(self.client, Space.WEIGHTS, placement.spaces[Space.WEIGHTS])
            if not there:
                load(self.client, placement, progress)
        except BaseException:
            self._serial.close()
            raise
        self.context = context
        self.cycles_per_token: float | None = None
        self.clock_hz: int | None = self.config.clock_hz
        self._state_shape = image.config.num_hidden_layers, image.config.inner_size
        self._state_stride = image.state_elements // image.config.num_hidden_layers

    def generate(self, prompt: Sequence[int], count: int, sampling: Sampling) -> Iterator[int]:
        yield from self.start(prompt, count, sampling, self.context)

    def start(
        self, prompt: Sequence[int], count: int, sampling: Sampling, context: int = 0
    ) -> Iterator[int]:
        """Begin at once, in any context of the chip; several may be under way."""
        if not 1 <= count <= BIGGEST_RUN:
            raise SetunError("token count", f"must be from 1 to {BIGGEST_RUN}", count)
        check_context(context, self.config.contexts)
        self.client.stop(context)
        self.client.reset(context)
        self.client.prompt(prompt, context)
        inverse = sampling.inverse_temperature
        bits = 0 if inverse is None else int(self.config.vector.to_bits(inverse)[0])
        seed = functions.seed_state(sampling.seed)
        tokens = self.client.generate(count, inverse is None, bits, seed, context)
        return self._tokens(tokens, count, context)

    def _tokens(self, tokens: Iterator[int], count: int, context: int) -> Iterator[int]:
        finished = False
        try:
            yield from tokens
            finished = True
        finally:
            if not finished:
                # The consumer left or the port is gone: the chip should not talk to nobody.
                with suppress(SetunError):
                    self.client.stop(context)
        done = self.client.last_done
        if done is None or done.tokens != count:
            raise SetunError(
                "generation", f"must give {count} tokens",
                f"{done.tokens if done else 0}, reason {done.reason if done else 'unknown'}",
                "give a prompt; load the model again if the program is damaged",
            )  # fmt: skip
        self.cycles_per_token = done.cycles / count

    def state(self, context: int = 0) -> Values:
        """Recurrent state [layers, width] of a context as the chip holds it."""
        layers, width = self._state_shape
        start = context * self.config.state_stride
        words = self.client.read(Space.STATE, start, layers * self._state_stride)
        return self.config.numerics.state.from_bits(words).reshape(layers, -1)[:, :width]

    def close(self) -> None:
        self._serial.close()
