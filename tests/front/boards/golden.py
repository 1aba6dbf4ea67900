"""What a conversation must give: the golden model, fed line after line."""

from setun.backends.base import Sampling
from setun.firmware.image.image import Image
from setun.firmware.models.tokenizer import Tokenizer
from setun.firmware.numerics.options import Numerics
from setun.firmware.numerics.sampling import Sampler
from setun.sim.golden import GoldenModel


class GoldenConversation:
    """The text of each answer, from a state that goes on."""

    def __init__(self, image: Image, numerics: Numerics) -> None:
        assert image.tokenizer_json is not None
        self.model = GoldenModel(image, numerics)
        self.tokenizer = Tokenizer.from_json(image.tokenizer_json, image.vocab_size)
        self.lines = 0

    def answer(self, line: str, count: int, sampling: Sampling) -> str:
        typed = "\n" + line if self.lines else line
        for token in self.tokenizer.encode(typed, begins=not self.lines):
            self.model.feed(token)
        self.lines += 1
        sampler = Sampler(self.model.numerics, sampling.inverse_temperature, sampling.seed)
        tokens = []
        for _ in range(count):
            tokens.append(sampler(self.model.logits()))
            self.model.feed(tokens[-1])
        return self.tokenizer.decode(tokens)
