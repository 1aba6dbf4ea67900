"""The golden model as a backend."""

from collections.abc import Iterator, Sequence

from setun.backends.base import Sampling
from setun.firmware.compiler import Image
from setun.firmware.formats import Format
from setun.sim.golden import GoldenModel, Sampler


class GoldenBackend:
    """Runs `image` in NumPy, in the chip's arithmetic."""

    cycles_per_token: float | None = None
    clock_hz: int | None = None

    def __init__(self, image: Image, fmt: Format) -> None:
        self.model = GoldenModel(image, fmt)

    def generate(self, prompt: Sequence[int], count: int, sampling: Sampling) -> Iterator[int]:
        model = self.model
        model.reset()
        for token in prompt:
            model.feed(token)
        sampler = Sampler(model.fmt, sampling.inverse_temperature, sampling.seed)
        for _ in range(count):
            token = sampler(model.logits())
            yield token
            model.feed(token)

    def close(self) -> None:
        """Nothing to release."""
