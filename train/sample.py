"""Text of a model in training, by the float reference that checks the chip."""

import numpy as np

from setun.firmware.models.tokenizer import Tokenizer
from setun.sim.reference import float_model
from setun.train.loop import Trainer

LENGTH = 160
TEMPERATURE = 0.8


def sample(trainer: Trainer, length: int = LENGTH) -> str:
    """`length` tokens that follow the beginning of the held-out text, seeded by the step."""
    model = float_model(trainer.checkpoint(trainer.weights()))
    tokenizer = Tokenizer.from_json(trainer.text.tokenizer_json, trainer.text.vocab_size)
    draw = np.random.default_rng(trainer.progress.step)
    prompt = [int(token) for token in trainer.text.held_out[:16]]
    logits, tokens = [model.step(token) for token in prompt][-1], list(prompt)
    for _ in range(length):
        tokens.append(int(np.argmax(logits / TEMPERATURE + draw.gumbel(size=logits.shape))))
        logits = model.step(tokens[-1])
    return tokenizer.decode(tokens)
