"""The golden model's contexts, one token of each in turn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from setun.backends.base import Sampling
from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image
from setun.firmware.link.messages import Reason
from setun.firmware.numerics.options import Numerics
from setun.firmware.numerics.sampling import Sampler
from setun.serve.engine import Ended, Event
from setun.sim.golden import GoldenModel

FED_AT_ONCE = 4  # tokens of a prompt between those of other conversations


@dataclass
class _Generation:
    left: int
    ends: Sequence[int]
    sampler: Sampler
    reason: Reason | None = field(default=None)


class GoldenEngine:
    """Runs `image` in NumPy, in the chip's arithmetic; an `Engine`."""

    config: ChipConfig | None = None

    def __init__(self, image: Image, numerics: Numerics, contexts: int) -> None:
        self.contexts, self.numerics = contexts, numerics
        self._image = image
        self._models: dict[int, GoldenModel] = {}
        self._running: dict[int, _Generation] = {}

    def reset(self, context: int) -> None:
        self._model(context).reset()

    def feed(self, tokens: Sequence[int], context: int) -> int:
        model = self._model(context)
        for token in tokens[:FED_AT_ONCE]:
            model.feed(token)
        return len(tokens[:FED_AT_ONCE])

    def begin(self, context: int, count: int, sampling: Sampling) -> None:
        sampler = Sampler(self.numerics, sampling.inverse_temperature, sampling.seed)
        self._running[context] = _Generation(count, sampling.ends(self._image), sampler)

    def stop(self, context: int) -> None:
        if context in self._running:
            self._running[context].reason = Reason.STOPPED

    def poll(self, wait: float) -> Iterator[Event]:
        for context, generation in list(self._running.items()):
            if generation.reason is None:
                yield context, self._token(context, generation)
            if generation.reason is not None:
                del self._running[context]
                yield context, Ended(generation.reason)

    def _token(self, context: int, generation: _Generation) -> int:
        model = self._model(context)
        token = generation.sampler(model.logits())
        generation.left -= 1
        if model.full:
            generation.reason = Reason.CONTEXT_FULL
            return token
        model.feed(token)
        if token in generation.ends:
            generation.reason = Reason.END_OF_TEXT
        elif not generation.left:
            generation.reason = Reason.COUNT
        return token

    def _model(self, context: int) -> GoldenModel:
        if context not in self._models:
            self._models[context] = GoldenModel(self._image, self.numerics)
        return self._models[context]

    def idle(self) -> None:
        """Nothing that could be gone."""

    def counters(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        """Nothing to release."""
