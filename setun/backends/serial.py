"""A chip on a serial port as a backend: identify, load what it lacks, run."""

from collections.abc import Iterator, Sequence

import numpy as np

from setun.backends.base import Sampling, check_context
from setun.backends.cache import cached
from setun.backends.connect import ConnectedChip, check_count
from setun.backends.loading import Progress, holds, load
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image, Region
from setun.firmware.image.memory_layout import MemoryLayout, Space, lay_out
from setun.firmware.link.messages import Reason
from setun.firmware.numerics.attention import Heads
from setun.firmware.numerics.formats import Values
from setun.sim.golden import full


class SerialBackend:
    """Runs `image` on the chip behind `port`, loading it first if another model is there.

    Weights outside block RAM are read through for that: the program may be a bitstream's, and they
    from before. They are not if `layout` is given, which says what the memories began with.

    `port`, `baud` and `patience` are those of `ConnectedChip`; `context` that of `generate`.

    Errors: no chip answers, the model does not fit it, or its number format differs from the one
    asked for.
    """

    def __init__(
        self,
        image: Image,
        port: str,
        baud: int | Sequence[int],
        *,
        patience: float = 60.0,
        context: int = 0,
        progress: Progress = lambda n, of: None,
        layout: MemoryLayout | None = None,
    ) -> None:
        self.connected = ConnectedChip(port, baud, patience=patience)
        self.client = self.connected.client
        self.config: ChipConfig = self.connected.config
        try:
            check_context(context, self.config.contexts)
            began = layout is not None
            layout = layout or lay_out(image, self.config)
            begins = next(layout.blocks(layout.first))[1][: layout.beginning]
            there = np.array_equal(self.client.read(layout.first, 0, len(begins)), begins)
            if there and self.config.external and not began:
                there = holds(self.client, layout, Space.WEIGHTS)
            if not there:
                load(self.client, layout, progress)
        except BaseException:
            self.connected.close()
            raise
        self.context = context
        self.positions = self.config.positions if self.config.attention else 0
        self.cycles_per_token: float | None = None
        self.clock_hz: int | None = self.config.clock_hz
        self._image = image

    def generate(self, prompt: Sequence[int], count: int, sampling: Sampling) -> Iterator[int]:
        yield from self.start(prompt, count, sampling, self.context)

    def start(
        self, prompt: Sequence[int], count: int, sampling: Sampling, context: int = 0
    ) -> Iterator[int]:
        """Begin at once, in any context of the chip; several may be under way."""
        check_count(count)
        check_context(context, self.config.contexts)
        if 0 < self.positions < len(prompt):
            raise full(self.positions, len(prompt))
        self.client.stop(context)
        self.client.reset(context)
        self.client.prompt(prompt, context)
        ends = sampling.ends(self._image)
        return self._counted(self.connected.generate(count, sampling, context, ends=ends), count)

    def _counted(self, tokens: Iterator[int], count: int) -> Iterator[int]:
        yield from tokens
        done = self.client.last_done
        ended = done is not None and done.reason in (Reason.END_OF_TEXT, Reason.CONTEXT_FULL)
        if done is None or not (ended or done.tokens == count):
            raise SetunError(
                "generation",
                f"must give {count} tokens",
                f"{done.tokens}, {done.why}" if done else "none",
                "give a prompt; load the model again if the program is damaged or hangs",
            )
        self.cycles_per_token = done.cycles / done.tokens

    def state(self, context: int = 0) -> Values:
        """Recurrent state [elements] of a context as the chip holds it; see `Image.memory`."""
        start = context * self.config.state_stride
        words = self.client.read(Space.STATE, start, self._image.memory.state_elements)
        return self.config.numerics.state.from_bits(words)

    def cached(
        self, region: Region, head: int, count: int, context: int = 0, *, values: bool = False
    ) -> Heads:
        """See `setun.backends.cache.cached`."""
        return cached(self.client, self.config, region, head, count, context, values=values)

    def close(self) -> None:
        self.connected.close()
