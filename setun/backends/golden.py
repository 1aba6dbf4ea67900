"""The golden model as a backend."""

from collections.abc import Iterator, Sequence

from setun.backends.base import Sampling
from setun.firmware.image.image import Image
from setun.firmware.numerics.options import Numerics
from setun.firmware.numerics.sampling import Sampler
from setun.sim.golden import GoldenModel


class GoldenBackend:
    """Runs `image` in NumPy, in the chip's arithmetic."""

    cycles_per_token: float | None = None
    clock_hz: int | None = None

    def __init__(self, image: Image, numerics: Numerics, positions: int = 0) -> None:
        self._image = image
        self.model = GoldenModel(image, numerics, positions=positions)
        self.positions = self.model.positions

    def generate(self, prompt: Sequence[int], count: int, sampling: Sampling) -> Iterator[int]:
        model, ends = self.model, sampling.ends(self._image)
        model.reset()
        for token in prompt:
            model.feed(token)
        sampler = Sampler(model.numerics, sampling.inverse_temperature, sampling.seed)
        for _ in range(count):
            token = sampler(model.logits())
            yield token
            if model.full:
                return
            model.feed(token)
            if token in ends:
                return

    def close(self) -> None:
        """Nothing to release."""
