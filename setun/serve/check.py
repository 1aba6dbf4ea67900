"""The golden model beside a context: what token comes next."""

from collections.abc import Sequence

from setun.backends.base import Sampling
from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.numerics.options import Numerics
from setun.firmware.numerics.sampling import Sampler
from setun.sim.golden import GoldenModel


class GoldenCheck:
    """Follows one context; goes on from answer to answer where the context does."""

    def __init__(self, image: Image, numerics: Numerics) -> None:
        self._model = GoldenModel(image, numerics)
        self._fed: list[int] = []

    def begin(self, read: Sequence[int], sampling: Sampling) -> None:
        """Stand where the context stands: `read`, and an answer beginning."""
        if self._fed != list(read[: len(self._fed)]):
            self._model.reset()
            self._fed = []
        for token in read[len(self._fed) :]:
            self._model.feed(token)
        self._fed = list(read)
        numerics = self._model.numerics
        self._sampler = Sampler(numerics, sampling.inverse_temperature, sampling.seed)

    def check(self, token: int) -> None:
        """Refuse a token that is not the golden model's next one; else feed it."""
        expected = self._sampler(self._model.logits())
        if expected != token:
            raise SetunError(
                f"token {len(self._fed)} of the conversation",
                f"must equal the golden model's {expected}",
                token,
                "report this with the model, prompt and seed",
            )
        if not self._model.full:
            self._model.feed(token)
        self._fed.append(token)
